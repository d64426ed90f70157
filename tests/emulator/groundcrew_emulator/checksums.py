"""Refuses an upload to S3 whose body is not what its checksum says. Moto believes every client."""

import base64
import hashlib
import zlib

from awscrt import checksums

# Bodies above this are passed on unchecked: moto would hold them twice.
CHECKED_BYTES_MAX = 64 << 20

ALGORITHMS = {
    "CRC32": lambda data: zlib.crc32(data).to_bytes(4, "big"),
    "CRC32C": lambda data: checksums.crc32c(data).to_bytes(4, "big"),
    "CRC64NVME": lambda data: checksums.crc64nvme(data).to_bytes(8, "big"),
    "SHA1": lambda data: hashlib.sha1(data).digest(),
    "SHA256": lambda data: hashlib.sha256(data).digest(),
}


def header(algorithm):
    return "HTTP_X_AMZ_CHECKSUM_" + algorithm


def are_needed(environ):
    """Whether this is an upload with a checksum in its head. Streamed ones carry it in a trailer."""
    if environ["REQUEST_METHOD"] != "PUT":
        return False
    if "aws-chunked" in environ.get("HTTP_CONTENT_ENCODING", ""):
        return False
    if environ.get("HTTP_X_AMZ_CONTENT_SHA256", "").startswith("STREAMING"):
        return False
    if int(environ.get("CONTENT_LENGTH") or 0) > CHECKED_BYTES_MAX:
        return False
    return "HTTP_CONTENT_MD5" in environ or any(header(name) in environ for name in ALGORITHMS)


def find_mismatch(environ, body):
    """The name of the first checksum that is wrong, or None."""
    wanted = environ.get("HTTP_CONTENT_MD5")
    if wanted and base64.b64encode(hashlib.md5(body).digest()).decode() != wanted:
        return "Content-MD5"
    for name, digest in ALGORITHMS.items():
        wanted = environ.get(header(name))
        if wanted and base64.b64encode(digest(body)).decode() != wanted:
            return name
    return None


def refusal(name):
    message = f"The {name} you specified did not match the calculated checksum."
    document = (
        '<?xml version="1.0" encoding="UTF-8"?>'
        f"<Error><Code>BadDigest</Code><Message>{message}</Message></Error>"
    )
    return "400 Bad Request", [("Content-Type", "application/xml")], document.encode()
