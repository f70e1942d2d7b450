"""Makes inputs for the target cert with openssl, which `make merge ONLY=cert` then picks from.

    cert_seeds.py build/corpus/cert

cert.c says what an input is. Its four keys are numbers known to all; nothing here is secret.
"""
import os
import subprocess
import sys
import tempfile

KEYS = [bytes([k + 1]) * 32 for k in range(4)]
START, END = "200101000000Z", "20991231235959Z"
NOW = 1790000000  # in 2026
ALL = "DNS:server.test,DNS:*.wild.test,IP:127.0.0.1,IP:::1"
CA = "basicConstraints=critical,CA:TRUE\nkeyUsage=critical,keyCertSign"
CONF = """[req]
distinguished_name = none
[none]
[ca]
default_ca = tests
[tests]
database = index
new_certs_dir = .
serial = serial
default_md = sha256
policy = any
unique_subject = no
[any]
commonName = optional
"""


def openssl(*arguments, data=None):
    return subprocess.run(["openssl", *arguments], input=data, check=True,
                          stdout=subprocess.PIPE, stderr=subprocess.PIPE).stdout


def element(der, at):
    """(where its content begins, where it ends)"""
    size, at = der[at + 1], at + 2
    if size > 128:
        digits = size - 128
        size, at = int.from_bytes(der[at:at + digits], "big"), at + digits
    return at, at + size


def signed_part(der):
    inner = element(der, 0)[0]
    return der[inner:element(der, inner)[1]]


def make_keys():
    """k0 to k3 have the numbers of cert.c; the others are what clients and servers may have."""
    prefix, suffix = bytes.fromhex("30310201010420"), bytes.fromhex("a00a06082a8648ce3d030107")
    for k, number in enumerate(KEYS):
        key = openssl("ec", "-inform", "DER", data=prefix + number + suffix)
        with open("k%d.key" % k, "wb") as f:
            f.write(key)
    openssl("genpkey", "-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:512", "-out", "rsa.key")
    for curve in ("P-384", "P-521"):
        openssl("genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:" + curve,
                "-pkeyopt", "ec_param_enc:named_curve", "-out", curve + ".key")


def make_certificate(name, key, issuer, extensions, subject=None, start=START, end=END):
    """Signed by issuer's key, which has a certificate; None: by its own. Returns DER."""
    with open("ext", "w") as f:
        f.write(extensions + "\n")
    openssl("req", "-config", "conf", "-new", "-key", key + ".key", "-sha256",
            "-subj", subject or "/CN=" + name, "-out", "csr")
    by = ["-selfsign", "-keyfile", key + ".key"]
    if issuer:
        by = ["-cert", issuer[0] + ".pem", "-keyfile", issuer[1] + ".key"]
    openssl("ca", "-config", "conf", "-batch", "-notext", "-in", "csr", "-out", name + ".pem", *by,
            "-startdate", start, "-enddate", end, "-extfile", "ext")
    return openssl("x509", "-in", name + ".pem", "-outform", "DER")


def block(flags, data):
    return bytes([flags]) + len(data).to_bytes(2, "big") + data


def chain(certificates, host="server.test", settings=0, pin=0, now=NOW):
    """certificates: (flags, what is signed)"""
    return (bytes([4, 3, settings, pin]) + now.to_bytes(4, "big") + host.encode() + b"\0" +
            b"".join(block(flags, data) for flags, data in certificates))


def client(blocks, settings=0, pins=b"", name=b""):
    return (bytes([3, 5, settings]) + pins + b"\0" + name + b"\0" +
            b"".join(block(flags, data) for flags, data in blocks))


def all_seeds():
    root = make_certificate("Root", "k0", None, CA)
    inter = make_certificate("Inter", "k1", ("Root", "k0"), CA)
    leaf = make_certificate("Leaf", "k2", ("Inter", "k1"),
                            "subjectAltName=" + ALL + "\nextendedKeyUsage=serverAuth")
    short = make_certificate("Short", "k2", ("Root", "k0"), "subjectAltName=" + ALL)
    direct = make_certificate("Direct", "k3", None, "subjectAltName=" + ALL)
    old = make_certificate("Old", "k2", ("Root", "k0"), "subjectAltName=" + ALL,
                           end="20210601000000Z")
    future = make_certificate("Future", "k2", ("Root", "k0"), "subjectAltName=" + ALL,
                              start="20900101000000Z")
    for_clients = make_certificate("C", "k2", ("Root", "k0"),
                                   "subjectAltName=" + ALL + "\nextendedKeyUsage=clientAuth")
    for_any = make_certificate("A", "k2", ("Root", "k0"), "subjectAltName=" + ALL +
                               "\nextendedKeyUsage=clientAuth,anyExtendedKeyUsage")
    no_names = make_certificate("server.test", "k2", ("Root", "k0"), "basicConstraints=CA:FALSE")
    critical = make_certificate("X", "k2", ("Root", "k0"),
                                "subjectAltName=" + ALL + "\n1.2.3.4=critical,DER:0500")
    constrained = make_certificate("Cons", "k1", ("Root", "k0"), CA +
                                   "\nnameConstraints=permitted;DNS:test")
    rsa = make_certificate("Rsa", "rsa", ("Root", "k0"), "subjectAltName=" + ALL)
    p384 = make_certificate("P", "P-384", ("Root", "k0"), "subjectAltName=" + ALL)
    p521 = make_certificate("Q", "P-521", ("Root", "k0"), "subjectAltName=" + ALL)

    for der in (root, leaf, no_names, old, rsa, p384, p521, for_any, constrained):
        yield bytes([1, 9]) + der

    tbs = [(4 | 1, signed_part(leaf)), (4 | 0, signed_part(inter))]
    yield chain(tbs)
    for host in ("other.test", "a.wild.test", "a.b.wild.test", "127.0.0.1", "::1", "127.0.0.2"):
        yield chain([(4, signed_part(short))], host)
    for pin in (16, 17, 16 + 8, 17 + 8, 16 + 128):
        yield chain(tbs, pin=pin)
        yield chain(tbs, settings=1, pin=pin)
    yield chain(tbs, settings=1, host="other.test")
    yield chain(tbs, settings=2)
    yield chain(tbs[:1])
    yield chain([tbs[0], (4 | 8, signed_part(inter))])
    yield chain([tbs[0], tbs[1], (0, root)])
    yield chain([(0, direct)])
    yield chain([(0, rsa)], settings=1)
    yield chain([(0, leaf[:200])], settings=1)
    yield chain([(0, b"\x31" + leaf[1:])], settings=1)  # goes on behind an error
    yield chain([(4, signed_part(short))], now=4100000000)
    for der in (old, future, for_clients, for_any, no_names, critical, rsa, p384):
        yield chain([(4, signed_part(der))])
    yield chain([tbs[0], (4, signed_part(constrained))])

    keys = {}
    for name in ("k2", "rsa", "P-384"):
        pkcs8 = openssl("pkcs8", "-topk8", "-nocrypt", "-in", name + ".key", "-outform", "DER")
        old_form = ["rsa", "-traditional"] if name == "rsa" else ["ec"]
        keys[name] = pkcs8, openssl(*old_form, "-in", name + ".key", "-outform", "DER")
    for der, name, label in ((leaf, "k2", 2), (rsa, "rsa", 3), (p384, "P-384", 2)):
        yield client([(1, der), (2 | 1 << 2, keys[name][0])])
        yield client([(1, der), (2 | label << 2, keys[name][1])])
        yield client([(1, der), (1, inter), (2 | label << 2, keys[name][1][:40])])
    yield client([(1, leaf), (2 | 3 << 2, keys["rsa"][1])])
    yield client([(1, rsa), (2 | 3 << 2, b"\x31" + keys["rsa"][1][1:])])  # and so does this
    yield client([(0, root), (0, rsa), (0, p384), (0, no_names), (0, leaf[:100])], settings=3)
    pin = b"o30dc76+iNbzHfj2KlOLcocT+dyaLrMNVgXdQwG1zQs="
    yield client([(0, root)], 31, pin + b", " + pin, b"server.test")

    text = openssl("x509", "-in", "Root.pem")
    yield bytes([0, 7]) + b"words\n" + text + text.replace(b"\n", b"\r\n")
    for name in ("k2", "P-384"):
        with open(name + ".key", "rb") as f:
            own = openssl("x509", "-in", "Leaf.pem" if name == "k2" else "P.pem") + f.read()
        yield bytes([0, 3]) + own
        yield bytes([0, 3]) + own.replace(b"KEY-----\nM", b"KEY-----\nA")
    yield bytes([0, 7]) + b"-----BEGIN A B-----\nAQ==\n-----END A B-----\n" \
                          b"-----BEGIN A-----\nA*\n-----END A-----\n"
    yield bytes([2, 0]) + b"Server.Test.\0*.test\0" + pin + b"\0*.TEST"
    yield bytes([2, 0]) + b"a.b.example.com\0*.example.com\0x\0*.b.example.com"
    yield bytes([2, 0]) + b"x\0x\0" + pin[:-2] + b"t=\0"
    for time in (b"260228235959Z", b"491231235960Z", b"500101000000Z", b"20000229000000Z",
                 b"19000301000000Z", b"99991231235959Z", b"00010101000000Z"):
        yield bytes([2, 0]) + b"10.0.0.1\x0010.0.0.1\0\0" + time


def main():
    folder = os.path.abspath(sys.argv[1])
    os.makedirs(folder, exist_ok=True)
    with tempfile.TemporaryDirectory() as place:
        os.chdir(place)
        for name, text in (("conf", CONF), ("index", ""), ("serial", "01\n")):
            with open(name, "w") as f:
                f.write(text)
        make_keys()
        for number, seed in enumerate(all_seeds()):
            with open(os.path.join(folder, "seed-%02d" % number), "wb") as f:
                f.write(seed)


main()
