"""Verifies an envelope with an implementation of DSSE that is not ours.

verify_dsse.py FILE PUBLICKEY: prints the payload. The key is 32 bytes in base64. Ends with 3 if the signature is not
of this payload by this key.
"""

import base64
import hashlib
import json
import sys

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from securesystemslib.dsse import Envelope
from securesystemslib.exceptions import UnverifiedSignatureError, VerificationError
from securesystemslib.signer import SSlibKey


def main(file, public):
    raw = base64.b64decode(public, validate=True)
    keyid = "sha256:" + hashlib.sha256(raw).hexdigest()
    key = SSlibKey.from_crypto(Ed25519PublicKey.from_public_bytes(raw), keyid)
    with open(file, encoding="utf-8") as lines:
        (line,) = lines
    envelope = Envelope.from_dict(json.loads(line))
    if envelope.payload_type != "application/vnd.in-toto+json":
        sys.exit(f"the envelope holds {envelope.payload_type}")
    try:
        envelope.verify([key], threshold=1)
    except (UnverifiedSignatureError, VerificationError) as error:
        print(error, file=sys.stderr)
        sys.exit(3)
    sys.stdout.write(envelope.payload.decode())


main(*sys.argv[1:])
