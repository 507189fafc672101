"""A `credential_process`: a token with the next number each time it is asked, by a count of turns in a file."""

import json
import sys
from pathlib import Path

turns, access_key, secret_key = Path(sys.argv[1]), sys.argv[2], sys.argv[3]
turn = len(turns.read_text()) + 1 if turns.exists() else 1
turns.write_text("x" * turn)
print(
    json.dumps(
        {
            "Version": 1,
            "AccessKeyId": access_key,
            "SecretAccessKey": secret_key,
            "SessionToken": f"token-{turn}",
            "Expiration": "2099-01-01T00:00:00Z",
        }
    )
)
