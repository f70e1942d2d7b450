#!/usr/bin/env bash
# Makes the keys and certificates of the TLS tests with openssl: nothing secret lies in the tree.
#
#     tls/pki.sh FOLDER        does nothing where FOLDER is younger than this file
#
# NAME.pem is a certificate with what leads to the root, NAME.key its key. root.pem is the anchor;
# root, an RSA one, signed inter, an EC one, and one of them the others. NAME.pin is the pin of
# NAME's key (RFC 7469), and NAME.leaf the certificate alone.
set -eu
folder=$1
[ ! -e "$folder/done" ] || [ "$0" -nt "$folder/done" ] || exit 0
rm -rf "$folder"
mkdir -p "$folder"
cd "$folder"
exec 3>&2 2>log
trap 'cat log >&3' ERR

P256='-algorithm EC -pkeyopt ec_paramgen_curve:P-256 -pkeyopt ec_param_enc:named_curve'
P384='-algorithm EC -pkeyopt ec_paramgen_curve:P-384 -pkeyopt ec_param_enc:named_curve'
RSA='-algorithm RSA -pkeyopt rsa_keygen_bits:2048'
CA_EXTENSIONS='basicConstraints=critical,CA:TRUE
keyUsage=critical,keyCertSign,cRLSign
subjectKeyIdentifier=hash'

cat >ca.conf <<'CONF'
[req]
distinguished_name = nothing
[nothing]
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
organizationName = optional
CONF
: >index
echo 01 >serial

# NAME KEY: what openssl genpkey is to make; the last word may be the file of a key that is there.
key() {
    # The words are meant to be split.
    # shellcheck disable=SC2086
    openssl genpkey $2 -out "$1.key"
}

# NAME ISSUER SUBJECT EXTENSIONS [START END]: signs NAME.key; ISSUER "self" signs itself.
sign() {
    local name=$1 issuer=$2 subject=$3 start=${5:-20200101000000Z} end=${6:-20991231235959Z}
    printf '%s\n' "$4" >"$name.ext"
    openssl req -config ca.conf -new -key "$name.key" -subj "$subject" -out "$name.csr"
    [ "$issuer" != self ] || issuer=$name
    local self=()
    [ "$issuer" != "$name" ] || self=(-selfsign)
    openssl ca -config ca.conf -batch -notext -in "$name.csr" -out "$name.leaf" \
        -keyfile "$issuer.key" ${self[@]+"${self[@]}"} \
        $([ "$issuer" = "$name" ] || echo "-cert $issuer.leaf") \
        -startdate "$start" -enddate "$end" -extfile "$name.ext"
    cp "$name.leaf" "$name.pem"
    [ "$issuer" != inter ] || cat inter.leaf >>"$name.pem"
    openssl pkey -in "$name.key" -pubout -outform DER | openssl dgst -sha256 -binary |
        openssl base64 >"$name.pin"
    rm "$name.csr" "$name.ext"
}

# NAME ISSUER SUBJECT-ALT-NAMES [KEY [START END]]: a server's.
server() {
    [ -e "$1.key" ] || key "$1" "${4:-$P256}"
    sign "$1" "$2" "/O=Tests/CN=$1.test" "subjectAltName=$3
extendedKeyUsage=serverAuth" "${5:-}" "${6:-}"
}

key root "$RSA"
sign root self '/O=Tests/CN=Root' "$CA_EXTENSIONS"
key inter "$P256"
sign inter root '/O=Tests/CN=Intermediate' "$CA_EXTENSIONS"
key stranger "$RSA"
sign stranger self '/O=Strangers/CN=Root' "$CA_EXTENSIONS"

ALL='DNS:localhost,DNS:server.test,DNS:*.wild.test,IP:127.0.0.1,IP:::1'
server rsa inter "$ALL" "$RSA"
server rsaonly root "$ALL" "$RSA"
server ec inter "$ALL" "$P256"
server ec384 root "$ALL" "$P384"
server rsa4096 root "$ALL" '-algorithm RSA -pkeyopt rsa_keygen_bits:4096'
server weak root "$ALL" '-algorithm RSA -pkeyopt rsa_keygen_bits:1024'
server expired inter "$ALL" "$P256" 20200101000000Z 20210601000000Z
server future inter "$ALL" "$P256" 20900101000000Z 20991231235959Z
server other inter 'DNS:other.test,IP:127.0.0.2'
server untrusted stranger "$ALL"
server selfsigned self "$ALL"
server oldself self "$ALL" "$P256" 20200101000000Z 20210601000000Z

# A name in the subject alone, as before RFC 6125.
key subject-name "$P256"
sign subject-name inter '/CN=localhost' 'extendedKeyUsage=serverAuth'
key subject-address "$P256"
sign subject-address inter '/CN=127.0.0.1' 'extendedKeyUsage=serverAuth'
key name-address "$P256"
sign name-address inter '/CN=x' 'subjectAltName=DNS:127.0.0.1'
# Not for servers; for anything; for whatever.
key clientonly "$P256"
sign clientonly inter '/CN=clientonly' "subjectAltName=$ALL
extendedKeyUsage=clientAuth"
key critical "$P256"
sign critical inter '/CN=critical' "subjectAltName=$ALL
1.2.3.4=critical,DER:0500"
key anything "$P256"
sign anything inter '/CN=anything' "subjectAltName=$ALL
extendedKeyUsage=clientAuth,anyExtendedKeyUsage"
key whatever "$P256"
sign whatever inter '/CN=whatever' "subjectAltName=$ALL"
# A leaf that signs another.
key leafsigned "$P256"
sign leafsigned ec '/CN=leafsigned' "subjectAltName=$ALL"
cat ec.pem >>leafsigned.pem
# Chains whose middle is not what it should be: expired; a CA by its constraints that may sign no
# certificate; one that may sign no further CA. And a key that may not sign a handshake.
middle() { # NAME CA-EXTENSIONS [START END]
    key "$1-ca" "$P256"
    sign "$1-ca" root "/O=Tests/CN=$1-ca" "$2" "${3:-}" "${4:-}"
    server "$1" "$1-ca" "$ALL"
    cat "$1-ca.leaf" >>"$1.pem"
}
middle expired-middle "$CA_EXTENSIONS" 20200101000000Z 20210701000000Z
middle no-signer 'basicConstraints=critical,CA:TRUE
keyUsage=critical,cRLSign'
middle last-signer 'basicConstraints=critical,CA:TRUE,pathlen:0
keyUsage=critical,keyCertSign'
key too-deep-ca "$P256"
sign too-deep-ca last-signer-ca '/O=Tests/CN=too-deep-ca' "$CA_EXTENSIONS"
server too-deep too-deep-ca "$ALL"
cat too-deep-ca.leaf last-signer-ca.leaf >>too-deep.pem
key no-handshake "$P256"
sign no-handshake inter '/CN=no-handshake' "subjectAltName=$ALL
keyUsage=critical,keyAgreement"
# So many names that no record of TLS holds them.
key many "$P256"
sign many inter '/CN=many' "subjectAltName=$(for i in $(seq 900); do
    printf 'DNS:host-%04d.many.test,' "$i"
done)DNS:server.test"
# An anchor whose subject is nearly all of it.
key long "$P256"
sign long self "/O=$(printf 'o%.0s' $(seq 60))/CN=$(printf 'n%.0s' $(seq 60))" "$CA_EXTENSIONS"

# Certificates of clients, and keys in their other forms.
key client-rsa "$RSA"
sign client-rsa inter '/CN=client-rsa' 'extendedKeyUsage=clientAuth'
key client-ec "$P256"
sign client-ec inter '/CN=client-ec' 'extendedKeyUsage=clientAuth'
cp ec384.key client-384.key
sign client-384 root '/CN=client-384' 'extendedKeyUsage=clientAuth'
cp rsa4096.key client-4096.key
sign client-4096 root '/CN=client-4096' 'extendedKeyUsage=clientAuth'
openssl rsa -in client-rsa.key -traditional -out client-rsa.pkcs1
openssl ec -in client-ec.key -out client-ec.sec1
openssl pkey -in client-ec.key -aes256 -passout pass:x -out client-ec.encrypted
openssl rsa -in client-rsa.key -traditional -aes128 -passout pass:x -out client-rsa.encrypted

cat root.leaf stranger.leaf >both.pem
for file in root rsa ec many selfsigned; do
    openssl x509 -in $file.leaf -outform DER -out $file.der
done
touch done
