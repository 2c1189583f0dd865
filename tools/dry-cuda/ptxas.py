"""Compiles dumped PTX: `ptxas.py PTXAS CAPABILITY DIR`. Prints how many kernels there are, and those that spill."""

import hashlib
import pathlib
import re
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

ptxas, capability, folder = sys.argv[1], int(sys.argv[2]), pathlib.Path(sys.argv[3])
# As CubeCL names the architecture: from 9.0 on with what only this one has.
architecture = f"sm_{capability}{'a' if capability >= 90 else ''}"


def compile_one(path):
    command = [ptxas, "-v", f"-arch={architecture}", "-o", "/dev/null", str(path)]
    done = subprocess.run(command, capture_output=True, text=True)
    name = re.search(r"\.entry\s+(\w+)", path.read_text())
    spills = [int(number) for number in re.findall(r"(\d+) bytes spill stores", done.stderr)]
    registers = [int(number) for number in re.findall(r"Used (\d+) registers", done.stderr)]
    return {
        "name": name.group(1) if name else path.name,
        "failure": done.stderr if done.returncode else None,
        "spills": max(spills, default=0),
        "registers": max(registers, default=0),
    }


# Each run dumps its own modules, many of them alike.
different = {hashlib.sha256(path.read_bytes()).digest(): path for path in sorted(folder.rglob("*.ptx"))}
if not different:
    sys.exit(f"{folder}: no PTX was dumped")
with ThreadPoolExecutor() as pool:
    kernels = list(pool.map(compile_one, different.values()))
failures = [kernel for kernel in kernels if kernel["failure"]]
spilling = [kernel for kernel in kernels if kernel["spills"]]
print(
    f"{architecture}: {len(kernels)} kernels, {len(failures)} failures, {len(spilling)} spill; "
    f"at most {max(kernel['registers'] for kernel in kernels)} registers"
)
for kernel in spilling:
    print(f"  {kernel['name']}: {kernel['spills']} bytes spilled, {kernel['registers']} registers")
for kernel in failures:
    print(f"  {kernel['name']}: {kernel['failure']}")
sys.exit(bool(failures))
