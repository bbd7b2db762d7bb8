// evaluate.mjs EXPRESSION: runs it in the daemon, through Node's own inspector (SIGUSR1 opens it), and does not wait for its end.
const [target] = await (await fetch('http://127.0.0.1:9229/json')).json();
const socket = new WebSocket(target.webSocketDebuggerUrl);
await new Promise((resolve, reject) => Object.assign(socket, { onopen: resolve, onerror: reject }));
socket.send(JSON.stringify({ id: 1, method: 'Runtime.evaluate', params: { expression: process.argv[2] } }));
// An expression without end is never answered.
socket.onmessage = () => process.exit();
setTimeout(() => process.exit(), 1_000);
