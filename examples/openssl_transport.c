/* openssl_transport: wss:// by OpenSSL, TLS 1.3 too: options.transport over the header's network.
 *
 *     cc -O2 -o openssl_transport openssl_transport.c -lssl -lcrypto
 *     ./openssl_transport wss://localhost:9443/ ca.pem
 *
 * greets the server each time the connection opens, and prints what it says. Needs OpenSSL 1.1.1
 * (Debian: libssl-dev). The same shape fits other TLS libraries; what easily goes wrong with this
 * one is marked TRAP. Define OPENSSL_TRANSPORT_NO_MAIN to take the transport alone.
 */
#define MTWS_IMPLEMENTATION
#include "../mtws.h"

#include <openssl/err.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>
#include <stdio.h>
#include <string.h>

typedef struct openssl_transport {
    unsigned char net_memory[MTWS_NET_MEMORY_SIZE];
    mtws_transport net; /* names and TCP: what the client would use without us */
    SSL_CTX *context;
    BIO_METHOD *method;
    SSL *ssl;             /* of the connection; NULL before its handshake */
    SSL_SESSION *session; /* to be resumed by the next one */
    int net_result;       /* why the network gave no byte the last time */
    int read_wants;       /* SSL_ERROR_WANT_READ or _WRITE: what reading waits for, */
    int write_wants;      /* writing, and the handshake too */
    char reason[256];     /* why the last attempt failed */
} openssl_transport;

/* ---- bytes between OpenSSL and the network ---------------------------------------------------- */

static int bio_result(BIO *bio, ptrdiff_t result, int retry) {
    openssl_transport *t = BIO_get_data(bio);
    BIO_clear_retry_flags(bio);
    if (result > 0) return (int)result;
    t->net_result = (int)result;
    if (result == MTWS_IO_AGAIN) BIO_set_flags(bio, retry | BIO_FLAGS_SHOULD_RETRY);
    return result == MTWS_IO_EOF ? 0 : -1;
}

static int bio_read(BIO *bio, char *out, int capacity) {
    openssl_transport *t = BIO_get_data(bio);
    ptrdiff_t got = t->net.read(t->net.ctx, out, (size_t)capacity);
    return bio_result(bio, got, BIO_FLAGS_READ);
}

static int bio_write(BIO *bio, const char *data, int size) {
    openssl_transport *t = BIO_get_data(bio);
    ptrdiff_t put = t->net.write(t->net.ctx, data, (size_t)size);
    return bio_result(bio, put, BIO_FLAGS_WRITE);
}

static long bio_control(BIO *bio, int command, long number, void *pointer) {
    (void)bio, (void)number, (void)pointer;
    return command == BIO_CTRL_FLUSH;
}

/* ---- errors ----------------------------------------------------------------------------------- */

static void note(openssl_transport *t, const char *text) {
    snprintf(t->reason, sizeof t->reason, "%s", text);
}

/* What a call of OpenSSL's that did not succeed means for the client. */
static int failure(openssl_transport *t, int result, int *wants) {
    int error = SSL_get_error(t->ssl, result);
    *wants = error;
    if (error == SSL_ERROR_WANT_READ || error == SSL_ERROR_WANT_WRITE) return MTWS_IO_AGAIN;
    if (error == SSL_ERROR_ZERO_RETURN) return MTWS_IO_EOF; /* close_notify */
    if (error == SSL_ERROR_SYSCALL)
        return t->net_result == MTWS_IO_EOF ? MTWS_IO_EOF : MTWS_IO_ERROR;
    unsigned long code = ERR_peek_error();
#ifdef SSL_R_UNEXPECTED_EOF_WHILE_READING
    /* OpenSSL 3 tells a stream that was cut from one that ended. */
    if (ERR_GET_REASON(code) == SSL_R_UNEXPECTED_EOF_WHILE_READING) return MTWS_IO_EOF;
#endif
    ERR_error_string_n(code, t->reason, sizeof t->reason);
    return MTWS_ERR_TLS;
}

/* The certificate was refused: the client tells what may pass from what will not by this. */
static int refusal(openssl_transport *t) {
    long verified = SSL_get_verify_result(t->ssl);
    if (verified == X509_V_OK) return MTWS_ERR_TLS;
    note(t, X509_verify_cert_error_string(verified));
    switch (verified) {
    case X509_V_ERR_HOSTNAME_MISMATCH:
    case X509_V_ERR_IP_ADDRESS_MISMATCH: return MTWS_ERR_TLS_NAME;
    case X509_V_ERR_CERT_HAS_EXPIRED:
    case X509_V_ERR_CERT_NOT_YET_VALID: return MTWS_ERR_TLS_TIME;
    default: return MTWS_ERR_TLS_TRUST;
    }
}

/* ---- the transport ---------------------------------------------------------------------------- */

/* Who the server must be. False: such a host has no certificate. */
static bool expect(openssl_transport *t, const char *host) {
    char name[256];
    size_t size = strlen(host);
    X509_VERIFY_PARAM *param = SSL_get0_param(t->ssl);
    if (X509_VERIFY_PARAM_set1_ip_asc(param, host)) return true;
    ERR_clear_error();
    if (size > 0 && host[size - 1] == '.') size--; /* the root's dot is in no certificate */
    /* TRAP: an empty name is no name, and then any certificate is the right one. */
    if (size == 0 || size >= sizeof name) return false;
    memcpy(name, host, size);
    name[size] = '\0';
    X509_VERIFY_PARAM_set_hostflags(param, X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS);
    return SSL_set1_host(t->ssl, name) && SSL_set_tlsext_host_name(t->ssl, name);
}

/* The network is open. */
static int begin(openssl_transport *t, const char *host) {
    BIO *bio = BIO_new(t->method);
    t->ssl = SSL_new(t->context);
    if (!bio || !t->ssl || !expect(t, host)) {
        BIO_free(bio);
        note(t, "no certificate can be for this host, or memory is short");
        return t->ssl && bio ? MTWS_ERR_TLS_NAME : MTWS_ERR_MEMORY;
    }
    BIO_set_data(bio, t);
    BIO_set_init(bio, 1);
    SSL_set_bio(t->ssl, bio, bio);
    if (t->session) SSL_set_session(t->ssl, t->session);
    SSL_set_connect_state(t->ssl);
    return 0;
}

static int transport_open(void *ctx, const char *host, uint16_t port, bool tls) {
    openssl_transport *t = ctx;
    if (!t->ssl) {
        t->reason[0] = '\0';
        int result = t->net.open(t->net.ctx, host, port, false);
        if (result != 0 && result != MTWS_IO_AGAIN) note(t, mtws_net_reason(&t->net));
        if (result != 0 || !tls) return result;
        result = begin(t, host);
        if (result != 0) return result;
    }
    /* TRAP: SSL_get_error looks into the thread's queue of errors, where old ones may lie. */
    ERR_clear_error();
    int done = SSL_do_handshake(t->ssl);
    if (done == 1) {
        t->read_wants = t->write_wants = SSL_ERROR_NONE;
        return 0;
    }
    int result = failure(t, done, &t->write_wants);
    if (result == MTWS_ERR_TLS) result = refusal(t);
    if (result == MTWS_IO_EOF || result == MTWS_IO_ERROR) {
        note(t, "the connection broke during the TLS handshake");
        result = MTWS_ERR_TLS;
    }
    return result;
}

/* TRAP: SSL_read hands out one record a call, whatever the capacity. "Only AGAIN means empty" covers
 * that: the client asks until it hears AGAIN. */
static ptrdiff_t transport_read(void *ctx, void *out, size_t capacity) {
    openssl_transport *t = ctx;
    size_t got = 0;
    if (!t->ssl) return t->net.read(t->net.ctx, out, capacity);
    ERR_clear_error();
    int done = SSL_read_ex(t->ssl, out, capacity, &got);
    t->read_wants = SSL_ERROR_NONE;
    return done == 1 ? (ptrdiff_t)got : failure(t, done, &t->read_wants);
}

/* TRAP: after WANT_... OpenSSL holds a record that it has encrypted already, and the next call sends
 * that, whatever it is given. So the next call must bring the same bytes, which the client promises
 * ("after AGAIN the next call begins with the same bytes, and is no shorter"); they may lie elsewhere,
 * since the queue may wrap (SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER). */
static ptrdiff_t transport_write(void *ctx, const void *data, size_t size) {
    openssl_transport *t = ctx;
    size_t put = 0;
    if (!t->ssl) return t->net.write(t->net.ctx, data, size);
    ERR_clear_error();
    int done = SSL_write_ex(t->ssl, data, size, &put);
    t->write_wants = SSL_ERROR_NONE;
    return done == 1 ? (ptrdiff_t)put : failure(t, done, &t->write_wants);
}

/* TRAP: reading may have to write (a key update), and writing to read: what is waited for is what
 * OpenSSL asked for, not what the client wants to do. */
static void transport_wait(void *ctx, bool want_read, bool want_write, mtws_wait *out) {
    openssl_transport *t = ctx;
    bool shaking = t->ssl && !SSL_is_init_finished(t->ssl);
    bool read = want_read, write = want_write;
    if (t->ssl && (want_write || shaking)) {
        read = read || t->write_wants == SSL_ERROR_WANT_READ;
        write = t->write_wants != SSL_ERROR_WANT_READ;
        if (shaking) write = t->write_wants == SSL_ERROR_WANT_WRITE;
    }
    if (t->ssl && want_read && t->read_wants == SSL_ERROR_WANT_WRITE) write = true;
    t->net.wait(t->net.ctx, read, write, out);
    /* TRAP: what OpenSSL has taken from the network no descriptor tells of any more. */
    if (t->ssl && want_read && SSL_has_pending(t->ssl)) out->timeout_ms = 0;
}

static void transport_close(void *ctx) {
    openssl_transport *t = ctx;
    if (t->ssl) {
        if (SSL_is_init_finished(t->ssl)) {
            /* Under TLS 1.3 what resumes a session comes behind the handshake: so it is taken here. */
            SSL_SESSION *session = SSL_get1_session(t->ssl);
            if (session && SSL_SESSION_is_resumable(session)) {
                SSL_SESSION_free(t->session);
                t->session = session;
            } else {
                SSL_SESSION_free(session);
            }
            ERR_clear_error();
            SSL_shutdown(t->ssl); /* close_notify, as far as there is room; nobody waits for it */
        } else if (t->reason[0]) {
            SSL_SESSION_free(t->session);
            t->session = NULL;
        }
        SSL_free(t->ssl);
        t->ssl = NULL;
    }
    t->net.close(t->net.ctx);
}

/* ---- made and freed --------------------------------------------------------------------------- */

/* After mtws_destroy. */
static void openssl_transport_free(openssl_transport *t) {
    SSL_SESSION_free(t->session);
    SSL_CTX_free(t->context);
    BIO_meth_free(t->method);
    mtws_net_destroy(&t->net);
    memset(t, 0, sizeof *t);
}

/* Fills options.transport. Roots are those of the file, or OpenSSL's own. t must stay where it is. */
static bool openssl_transport_make(openssl_transport *t, mtws_transport *out, const char *ca_file) {
    static const unsigned char alpn[] = "\x08http/1.1";
    memset(t, 0, sizeof *t);
    mtws_net_transport(&t->net, t->net_memory, sizeof t->net_memory);
    t->context = SSL_CTX_new(TLS_client_method());
    t->method = BIO_meth_new(BIO_get_new_index() | BIO_TYPE_SOURCE_SINK, "mtws");
    if (!t->context || !t->method || !BIO_meth_set_read(t->method, bio_read) ||
        !BIO_meth_set_write(t->method, bio_write) || !BIO_meth_set_ctrl(t->method, bio_control) ||
        !SSL_CTX_set_min_proto_version(t->context, TLS1_2_VERSION) ||
        SSL_CTX_set_alpn_protos(t->context, alpn, sizeof alpn - 1) != 0 ||
        !(ca_file ? SSL_CTX_load_verify_locations(t->context, ca_file, NULL)
                  : SSL_CTX_set_default_verify_paths(t->context))) {
        openssl_transport_free(t);
        return false;
    }
    SSL_CTX_set_verify(t->context, SSL_VERIFY_PEER, NULL);
    SSL_CTX_set_options(t->context, SSL_OP_NO_RENEGOTIATION);
    SSL_CTX_set_mode(t->context,
                     SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
    SSL_CTX_set_session_cache_mode(t->context, SSL_SESS_CACHE_CLIENT);
    mtws_transport made = {transport_open, transport_read,  transport_write,
                           transport_wait, transport_close, t};
    *out = made;
    return true;
}

#ifndef OPENSSL_TRANSPORT_NO_MAIN
int main(int argc, char **argv) {
    static openssl_transport transport;
    mtws_options options = {0};
    if (argc < 2 ||
        !openssl_transport_make(&transport, &options.transport, argc > 2 ? argv[2] : NULL)) {
        fprintf(stderr, "usage: openssl_transport wss://HOST[:PORT]/ [CA_FILE]\n");
        return 2;
    }
    mtws_client *ws;
    mtws_result result = mtws_create(&ws, &options);
    if (result == MTWS_OK) result = mtws_connect(ws, argv[1], NULL);
    mtws_event event;
    while (result == MTWS_OK && mtws_poll(ws, &event, -1) >= 0) {
        if (event.type == MTWS_EVENT_STATE) {
            printf("%s %s%s%s\n", mtws_state_name(event.state), event.reason,
                   transport.reason[0] != 0 ? ": " : "", transport.reason);
            if (event.state == MTWS_STATE_CONNECTED) result = mtws_send_text(ws, "hello");
        } else if (event.type == MTWS_EVENT_MESSAGE) {
            printf("received %.*s\n", (int)event.size, (const char *)event.data);
        }
        fflush(stdout);
    }
    if (result != MTWS_OK) fprintf(stderr, "openssl_transport: %s\n", mtws_result_text(result));
    int status = result != MTWS_OK || mtws_get_state(ws) == MTWS_STATE_FAILED;
    mtws_destroy(ws);
    openssl_transport_free(&transport);
    return status;
}
#endif
