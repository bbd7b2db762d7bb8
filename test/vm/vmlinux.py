"""Writes the ELF kernel that is packed inside a bzImage: vmlinux.py BZIMAGE OUTPUT."""
import subprocess
import sys

# First bytes of each format, and what unpacks it. Trailing bytes belong to the boot code and make the tools complain.
PACKED = (
    (b"\x02\x21\x4c\x18", ["lz4", "-dc"]),
    (b"\x28\xb5\x2f\xfd", ["zstd", "-dcq"]),
    (b"\xfd7zXZ\x00", ["xz", "-dc"]),
    (b"\x1f\x8b\x08", ["gzip", "-dc"]),
)

with open(sys.argv[1], "rb") as file:
    image = file.read()
for magic, tool in PACKED:
    at = image.find(magic)
    while at >= 0:
        done = subprocess.run(tool, input=image[at:], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
        if done.stdout[:4] == b"\x7fELF":
            with open(sys.argv[2], "wb") as file:
                file.write(done.stdout)
            sys.exit(0)
        at = image.find(magic, at + 1)
sys.exit(f"{sys.argv[1]} holds no kernel packed by lz4, zstd, xz or gzip")
