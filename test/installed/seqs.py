"""seqs.py FIELD LAST: sequence numbers of the events on stdin, one JSON object a line, up to LAST, in order."""
import json
import sys

numbers = sorted(int(json.loads(line)[sys.argv[1]]) for line in sys.stdin)
print(*(number for number in numbers if number <= int(sys.argv[2])), sep="\n")
