#!/usr/bin/env python3
"""Makes the test vectors of this folder, independently of the Rust code.

    python3 -m venv /tmp/venv && /tmp/venv/bin/pip install pynacl==1.6.2
    /tmp/venv/bin/python make.py

XChaCha20-Poly1305, ChaCha20-Poly1305 and X25519 are libsodium's (pynacl); HKDF (RFC 5869), HPKE
(RFC 9180, draft-ietf-hpke-pq), X-Wing (draft-connolly-cfrg-xwing-kem) and ML-KEM-768 (FIPS 203)
are written out below from their specifications, for clarity and not for speed or secrecy.
"""

import base64
import hashlib
import hmac
import json
import pathlib
import struct

from nacl.bindings import (
    crypto_aead_chacha20poly1305_ietf_encrypt as chacha_seal,
    crypto_aead_xchacha20poly1305_ietf_decrypt as xchacha_open,
    crypto_aead_xchacha20poly1305_ietf_encrypt as xchacha_seal,
    crypto_scalarmult,
    crypto_scalarmult_base,
)

CHUNK = 262_128
HERE = pathlib.Path(__file__).parent


def sha256(data):
    return hashlib.sha256(data).digest()


def framed(domain, *fields):
    out = bytes([len(domain)]) + domain.encode()
    for field in fields:
        out += struct.pack(">Q", len(field)) + field
    return out


def hkdf_extract(salt, ikm):
    return hmac.new(salt or bytes(32), ikm, hashlib.sha256).digest()


def hkdf_expand(prk, info, length):
    out, block, counter = b"", b"", 1
    while len(out) < length:
        block = hmac.new(prk, block + info + bytes([counter]), hashlib.sha256).digest()
        out, counter = out + block, counter + 1
    return out[:length]


def pattern(length, seed):
    """Bytes that anybody can make again: SHA-256 in counter mode over a one-byte seed."""
    blocks = (length + 31) // 32
    return b"".join(sha256(bytes([seed]) + struct.pack(">Q", i)) for i in range(blocks))[:length]


# --- one record -------------------------------------------------------------------------------

def padded_length(length):
    length = max(length, 4096)
    exponent = length.bit_length() - 1
    low_bits = exponent - exponent.bit_length()
    mask = (1 << low_bits) - 1
    return (length + mask) & ~mask


def make_header(padded, random):
    count = -(-padded // CHUNK)
    return bytes([1, 1]) + struct.pack(">IIQ", CHUNK, count, padded) + random


def derive(key, header):
    header_hash = sha256(framed("stela/records/v1/header", header))
    info = framed("stela/records/v1/record-keys", header_hash)
    okm = hkdf_expand(hkdf_extract(b"", key), info, 83)
    return header_hash, okm[:32], okm[32:51], okm[51:]


def seal_stream(stream, cipher_key, prefix, header_hash):
    chunks = [stream[at:at + CHUNK] for at in range(0, len(stream), CHUNK)]
    blob = b""
    for index, chunk in enumerate(chunks):
        last = index == len(chunks) - 1
        nonce = prefix + struct.pack(">I", index) + bytes([last])
        blob += xchacha_seal(chunk, header_hash, nonce, cipher_key)
    return blob


def record(name, content_bytes, seed, media_type, format_, file_name=None):
    key, random = sha256(b"key" + name.encode()), sha256(b"random" + name.encode())
    content = pattern(content_bytes, seed)
    metadata = {"content_bytes": content_bytes, "media_type": media_type, "format": format_}
    if file_name is not None:
        metadata["file_name"] = file_name
    encoded = json.dumps(metadata, separators=(",", ":"), ensure_ascii=False).encode()
    stream = struct.pack(">I", len(encoded)) + encoded + content
    stream += bytes(padded_length(len(stream)) - len(stream))
    header = make_header(len(stream), random)
    header_hash, cipher_key, prefix, commitment = derive(key, header)
    blob = seal_stream(stream, cipher_key, prefix, header_hash)
    case = {
        "name": name,
        "key": key.hex(),
        "random": random.hex(),
        "content_bytes": content_bytes,
        "content_seed": seed,
        "media_type": media_type,
        "format": format_,
        "file_name": file_name,
        "header": header.hex(),
        "header_hash": header_hash.hex(),
        "cipher_key": cipher_key.hex(),
        "nonce_prefix": prefix.hex(),
        "commitment": commitment.hex(),
        "blob_bytes": len(blob),
        "blob_sha256": sha256(blob).hex(),
    }
    if len(blob) <= 4096 + 16:
        case["blob"] = blob.hex()
    return case


# --- one ciphertext for two keys ---------------------------------------------------------------

P = (1 << 130) - 5
CLAMP = 0x0FFFFFFC0FFFFFFC0FFFFFFC0FFFFFFF


def poly_key(cipher_key, nonce):
    """r and s of Poly1305: block 0 of the key stream, which libsodium does not give."""
    subkey = hchacha20(cipher_key, nonce[:16])
    block = chacha20_block(subkey, 0, bytes(4) + nonce[16:])
    return int.from_bytes(block[:16], "little") & CLAMP, int.from_bytes(block[16:32], "little")


def rotate(value, bits):
    return ((value << bits) | (value >> (32 - bits))) & 0xFFFFFFFF


def chacha_rounds(state):
    def quarter(a, b, c, d):
        for x, y, z, bits in ((a, b, d, 16), (c, d, b, 12), (a, b, d, 8), (c, d, b, 7)):
            state[x] = (state[x] + state[y]) & 0xFFFFFFFF
            state[z] = rotate(state[z] ^ state[x], bits)

    for _ in range(10):
        for a, b, c, d in ((0, 4, 8, 12), (1, 5, 9, 13), (2, 6, 10, 14), (3, 7, 11, 15),
                           (0, 5, 10, 15), (1, 6, 11, 12), (2, 7, 8, 13), (3, 4, 9, 14)):
            quarter(a, b, c, d)
    return state


SIGMA = list(struct.unpack("<4I", b"expand 32-byte k"))


def hchacha20(key, nonce):
    state = chacha_rounds(SIGMA + list(struct.unpack("<8I", key) + struct.unpack("<4I", nonce)))
    return struct.pack("<8I", *(state[:4] + state[12:]))


def chacha20_block(key, counter, nonce):
    start = SIGMA + list(struct.unpack("<8I", key)) + [counter] + list(struct.unpack("<3I", nonce))
    return struct.pack("<16I", *((a + b) & 0xFFFFFFFF
                                 for a, b in zip(chacha_rounds(list(start)), start)))


def two_keys_one_ciphertext():
    """A chunk that XChaCha20-Poly1305 opens under the keys of two records: one block of the
    ciphertext is solved so that the two Poly1305 tags are the same."""
    header = make_header(4096, sha256(b"two keys"))
    keys = [sha256(b"first"), sha256(b"second")]
    derived = [derive(key, header) for key in keys]
    header_hash = derived[0][0]
    nonces = [prefix + struct.pack(">I", 0) + b"\x01" for _, _, prefix, _ in derived]
    poly = [poly_key(cipher_key, nonce)
            for (_, cipher_key, _, _), nonce in zip(derived, nonces)]
    lengths = struct.pack("<QQ", 32, 4096)
    free = 2 + 100  # the block that is solved, after the two blocks of associated data
    for attempt in range(1000):
        ciphertext = bytearray(pattern(4096, 9))
        ciphertext[:8] = struct.pack(">Q", attempt)
        ciphertext[1600:1616] = bytes(16)
        data = header_hash + bytes(ciphertext) + lengths
        blocks = [int.from_bytes(data[at:at + 16], "little") + (1 << 128)
                  for at in range(0, len(data), 16)]
        blocks[free] = 0
        sums = [sum(block * pow(r, len(blocks) - i, P) for i, block in enumerate(blocks)) % P
                for r, _ in poly]
        powers = [pow(r, len(blocks) - free, P) for r, _ in poly]
        # sums0 + x powers0 + s0 = sums1 + x powers1 + s1 (mod P)
        x = (sums[1] - sums[0] + poly[1][1] - poly[0][1]) * pow(powers[0] - powers[1], -1, P) % P
        if not 1 << 128 <= x < 1 << 129:
            continue
        ciphertext[1600:1616] = (x - (1 << 128)).to_bytes(16, "little")
        tags = [((sums[i] + x * powers[i]) % P + poly[i][1]) % (1 << 128) for i in (0, 1)]
        if tags[0] != tags[1]:
            continue
        blob = bytes(ciphertext) + tags[0].to_bytes(16, "little")
        for (_, cipher_key, _, _), nonce in zip(derived, nonces):
            xchacha_open(blob, header_hash, nonce, cipher_key)
        return {
            "header": header.hex(),
            "header_hash": header_hash.hex(),
            "blob": blob.hex(),
            "readers": [
                {
                    "key": key.hex(),
                    "cipher_key": cipher_key.hex(),
                    "nonce": nonce.hex(),
                    "commitment": commitment.hex(),
                }
                for key, (_, cipher_key, _, commitment), nonce in zip(keys, derived, nonces)
            ],
        }
    raise AssertionError("no block found")


# --- ML-KEM-768, FIPS 203 ----------------------------------------------------------------------

Q, N, K = 3329, 256, 3


def bit_reverse7(value):
    return int(f"{value:07b}"[::-1], 2)


ZETAS = [pow(17, bit_reverse7(i), Q) for i in range(128)]
GAMMAS = [pow(17, 2 * bit_reverse7(i) + 1, Q) for i in range(128)]


def ntt(f):
    f, i, length = list(f), 1, 128
    while length >= 2:
        for start in range(0, N, 2 * length):
            zeta, i = ZETAS[i], i + 1
            for j in range(start, start + length):
                t = zeta * f[j + length] % Q
                f[j + length], f[j] = (f[j] - t) % Q, (f[j] + t) % Q
        length //= 2
    return f


def ntt_inverse(f):
    f, i, length = list(f), 127, 2
    while length <= 128:
        for start in range(0, N, 2 * length):
            zeta, i = ZETAS[i], i - 1
            for j in range(start, start + length):
                t = f[j]
                f[j], f[j + length] = (t + f[j + length]) % Q, zeta * (f[j + length] - t) % Q
        length *= 2
    return [x * 3303 % Q for x in f]


def multiply(f, g):
    h = []
    for i in range(128):
        a0, a1, b0, b1 = f[2 * i], f[2 * i + 1], g[2 * i], g[2 * i + 1]
        h += [(a0 * b0 + a1 * b1 * GAMMAS[i]) % Q, (a0 * b1 + a1 * b0) % Q]
    return h


def add(*polynomials):
    return [sum(terms) % Q for terms in zip(*polynomials)]


def pack(values, bits):
    number = 0
    for i, value in enumerate(values):
        number |= value << (i * bits)
    return number.to_bytes(len(values) * bits // 8, "little")


def unpack(data, bits):
    number = int.from_bytes(data, "little")
    return [number >> (i * bits) & ((1 << bits) - 1) for i in range(len(data) * 8 // bits)]


def compress(values, bits):
    return [((x << bits) + Q // 2) // Q % (1 << bits) for x in values]


def decompress(values, bits):
    return [(x * Q + (1 << (bits - 1))) >> bits for x in values]


def sample_uniform(seed, j, i):
    stream = hashlib.shake_128(seed + bytes([j, i])).digest(3 * 1000)
    out = []
    for at in range(0, len(stream), 3):
        a, b, c = stream[at:at + 3]
        out += [d for d in (a + 256 * (b % 16), b // 16 + 16 * c) if d < Q]
        if len(out) >= N:
            return out[:N]
    raise AssertionError("3000 bytes are practically always enough")


def sample_binomial(seed, counter):
    bits = unpack(hashlib.shake_256(seed + bytes([counter])).digest(128), 1)
    return [(bits[4 * i] + bits[4 * i + 1] - bits[4 * i + 2] - bits[4 * i + 3]) % Q
            for i in range(N)]


def matrix(rho):
    return [[sample_uniform(rho, j, i) for j in range(K)] for i in range(K)]


def ml_kem_keygen(d):
    expanded = hashlib.sha3_512(d + bytes([K])).digest()
    rho, sigma = expanded[:32], expanded[32:]
    a = matrix(rho)
    s = [ntt(sample_binomial(sigma, i)) for i in range(K)]
    e = [ntt(sample_binomial(sigma, K + i)) for i in range(K)]
    t = [add(*(multiply(a[i][j], s[j]) for j in range(K)), e[i]) for i in range(K)]
    return b"".join(pack(x, 12) for x in t) + rho


def ml_kem_encaps(public, m):
    expanded = hashlib.sha3_512(m + hashlib.sha3_256(public).digest()).digest()
    shared, r = expanded[:32], expanded[32:]
    t = [unpack(public[384 * i:384 * (i + 1)], 12) for i in range(K)]
    a = matrix(public[384 * K:])
    y = [ntt(sample_binomial(r, i)) for i in range(K)]
    e1 = [sample_binomial(r, K + i) for i in range(K)]
    e2 = sample_binomial(r, 2 * K)
    u = [add(ntt_inverse(add(*(multiply(a[j][i], y[j]) for j in range(K)))), e1[i])
         for i in range(K)]
    mu = decompress(unpack(m, 1), 1)
    v = add(ntt_inverse(add(*(multiply(t[i], y[i]) for i in range(K)))), e2, mu)
    ciphertext = b"".join(pack(compress(x, 10), 10) for x in u) + pack(compress(v, 4), 4)
    return shared, ciphertext


# --- X-Wing and HPKE ---------------------------------------------------------------------------

def xwing_public(seed):
    expanded = hashlib.shake_256(seed).digest(96)
    return ml_kem_keygen(expanded[:32]) + crypto_scalarmult_base(expanded[64:])


def xwing_encaps(public, randomness):
    shared_m, ciphertext_m = ml_kem_encaps(public[:1184], randomness[:32])
    ephemeral = randomness[32:]
    ciphertext_x = crypto_scalarmult_base(ephemeral)
    shared_x = crypto_scalarmult(ephemeral, public[1184:])
    shared = hashlib.sha3_256(
        shared_m + shared_x + ciphertext_x + public[1184:] + rb"\.//^" + b"\\"
    ).digest()
    return shared, ciphertext_m + ciphertext_x


SUITE = b"HPKE" + struct.pack(">HHH", 0x647A, 0x0001, 0x0003)


def labeled_extract(salt, label, ikm):
    return hkdf_extract(salt, b"HPKE-v1" + SUITE + label + ikm)


def labeled_expand(prk, label, info, length):
    return hkdf_expand(prk, struct.pack(">H", length) + b"HPKE-v1" + SUITE + label + info, length)


def hpke_seal(public, info, plaintext, randomness):
    shared, encapsulated = xwing_encaps(public, randomness)
    context = b"\0" + labeled_extract(b"", b"psk_id_hash", b"")
    context += labeled_extract(b"", b"info_hash", info)
    secret = labeled_extract(shared, b"secret", b"")
    key = labeled_expand(secret, b"key", context, 32)
    nonce = labeled_expand(secret, b"base_nonce", context, 12)
    return encapsulated, chacha_seal(plaintext, b"", nonce, key)


def wraps(record_case):
    key, header_hash = bytes.fromhex(record_case["key"]), bytes.fromhex(record_case["header_hash"])
    commitment = bytes.fromhex(record_case["commitment"])
    cid = bytes.fromhex("01551220" + record_case["blob_sha256"])
    label = {"channel": "care", "record_id": "record-1", "version": 3, "patient_id": "patient-1",
             "author_id": "practitioner-1"}
    label_bytes = framed(
        "stela/records/v1/wrap-label", label["channel"].encode(), label["record_id"].encode(),
        struct.pack(">Q", label["version"]), label["patient_id"].encode(),
        label["author_id"].encode(), header_hash, commitment, cid)
    cases, list_items = [], []
    for recipient in ("patient-1", "delegate-ü"):
        seed = sha256(b"seed" + recipient.encode())
        randomness = hashlib.sha512(b"randomness" + recipient.encode()).digest()
        public = xwing_public(seed)
        key_id = sha256(framed("stela/records/v1/encryption-key", b"\1\1" + public))
        info = framed("stela/records/v1/wrap", label_bytes, recipient.encode(), key_id)
        encapsulated, sealed = hpke_seal(public, info, key, randomness)
        cases.append({
            "recipient": recipient,
            "seed": seed.hex(),
            "randomness": randomness.hex(),
            "public_key": (b"\1\1" + public).hex(),
            "key_id": key_id.hex(),
            "encapsulated_key": encapsulated.hex(),
            "sealed_key": sealed.hex(),
        })
        name = recipient.encode()
        list_items.append((name, key_id, struct.pack(">H", len(name)) + name + key_id
                           + encapsulated + sealed))
    encoded = b"\1" + struct.pack(">H", len(list_items))
    encoded += b"".join(item for _, _, item in sorted(list_items))
    salt = sha256(b"salt")[:16]
    return {
        "key": key.hex(),
        "label": label | {
            "header_hash": header_hash.hex(),
            "key_commitment": commitment.hex(),
            "cid": "b" + base64.b32encode(cid).decode().lower().rstrip("="),
        },
        "label_bytes": label_bytes.hex(),
        "wraps": cases,
        "list_sha256": sha256(encoded).hex(),
        "list_salt": salt.hex(),
        "list_commitment": sha256(framed("stela/records/v1/wrap-list", salt, encoded)).hex(),
    }


def check_against_published():
    """RFC 5869, test case 1, and draft-connolly-cfrg-xwing-kem, appendix C, first vector."""
    prk = hkdf_extract(bytes(range(13)), b"\x0b" * 22)
    okm = hkdf_expand(prk, bytes(range(0xF0, 0xFA)), 42)
    assert okm.hex().startswith("3cb25f25faacd57a90434f64d0362f2a"), "HKDF"
    seed = bytes.fromhex("7f9c2ba4e88f827d616045507605853ed73b8093f6efbc88eb1a6eacfa66ef26")
    randomness = bytes.fromhex(
        "3cb1eea988004b93103cfb0aeefd2a686e01fa4a58e8a3639ca8a1e3f9ae57e2"
        "35b8cc873c23dc62b8d260169afa2f75ab916a58d974918835d25e6a435085b2")
    shared, _ = xwing_encaps(xwing_public(seed), randomness)
    expected = "d2df0522128f09dd8e2c92b1e905c793d8f57a54c3da25861f10bf4ca613e384"
    assert shared.hex() == expected, "X-Wing"


def write(name, value):
    text = json.dumps(value, indent=1, ensure_ascii=False) + "\n"
    (HERE / name).write_text(text, encoding="utf-8")


def main():
    check_against_published()
    records = [
        record("empty", 0, 1, "text/plain", "text"),
        record("one-byte", 1, 2, "application/fhir+json", "fhir-r4"),
        record("named", 3000, 3, "application/pdf", "pdf", "Ärztebrief \"1\".pdf"),
        record("one-chunk-full-but-one-padding-step", 250_000, 4, "application/dicom", "dicom"),
        record("second-chunk-of-16-bytes", 262_000, 5, "application/dicom", "dicom"),
        record("several-chunks", 1_000_003, 6, "application/dicom", "dicom", "scan.dcm"),
    ]
    write("records.json", records)
    write("wraps.json", wraps(records[2]))
    write("two_keys.json", two_keys_one_ciphertext())


if __name__ == "__main__":
    main()
