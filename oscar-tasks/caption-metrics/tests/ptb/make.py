"""Makes the second column of cases.tsv anew: what the Stanford tokeniser 3.4.1 makes of the first.

    python make.py stanford-corenlp-3.4.1.jar

The jar is the one that the PyPI package pycocoevalcap carries; needs Java. A line `xq` between the
sentences keeps them from deciding about each other's last words.
"""

import pathlib
import subprocess
import sys
import tempfile

here = pathlib.Path(__file__).parent
rows = here.joinpath("cases.tsv").read_text("utf-8").split("\n")[:-1]
sentences = [row.split("\t")[0] for row in rows]
with tempfile.NamedTemporaryFile() as lines:
    lines.write("".join(f"{sentence}\nxq\n" for sentence in sentences).encode())
    lines.flush()
    tokens = subprocess.run(
        ["java", "-Dfile.encoding=UTF-8", "-cp", sys.argv[1],
         "edu.stanford.nlp.process.PTBTokenizer", "-preserveLines", "-lowerCase", lines.name],
        stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, check=True,
    ).stdout.decode().split("\n")[: 2 * len(sentences) : 2]
cases = "".join(f"{sentence}\t{token}\n" for sentence, token in zip(sentences, tokens))
here.joinpath("cases.tsv").write_text(cases, "utf-8")
