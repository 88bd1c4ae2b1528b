# Becomes another user by a program of the host's with the set-id bit.
# says: not found
# control: no, this user is root there already
import subprocess, sys
from pathlib import Path

before = Path("/proc/self/uid_map").read_text()
said = subprocess.run(["su", "-c", "cat /proc/self/uid_map"], capture_output=True, text=True, check=False).stdout
sys.exit("not found" if said in ("", before) else print(said))
