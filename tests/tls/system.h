/* The system under the TLS tests: a few of its calls can be told to fail or to lie, the rest are
 * the system's own. Include it before mtws.h. */
#ifndef MTWS_TEST_SYSTEM_H_INCLUDED
#define MTWS_TEST_SYSTEM_H_INCLUDED

#ifndef _DEFAULT_SOURCE
#define _DEFAULT_SOURCE 1
#endif
#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <unistd.h>

static struct {
    int open_error;        /* what open fails with ... */
    int open_failures;     /* ... so many times; -1: each time */
    const char *open_only; /* ... where this is a part of the path; NULL: whatever it is */
    const char *instead;   /* the file that is opened in place of each; NULL: the one asked for */
    bool no_status;        /* fstat fails */
    off_t size;            /* what fstat says; 0: the truth */
    bool other_user, other_group; /* the program runs with more rights than its user has */
    size_t send_size;             /* bytes that send takes, every other time; 0: all, each time */
    bool send_again;              /* the last time it took nothing */
} own_system;

static int own_open(const char *path, int flags) {
    bool meant = own_system.open_only == NULL || strstr(path, own_system.open_only) != NULL;
    if (meant && own_system.open_failures != 0) {
        own_system.open_failures -= own_system.open_failures > 0;
        errno = own_system.open_error;
        return -1;
    }
    return open(meant && own_system.instead != NULL ? own_system.instead : path, flags);
}

static int own_fstat(int fd, struct stat *out) {
    if (own_system.no_status) errno = EIO;
    if (own_system.no_status || fstat(fd, out) != 0) return -1;
    if (own_system.size != 0) out->st_size = own_system.size;
    return 0;
}

static ssize_t own_send(int fd, const void *data, size_t size, int flags) {
    bool again = own_system.send_size != 0 && !own_system.send_again;
    own_system.send_again = again;
    if (again) errno = EAGAIN;
    if (own_system.send_size != 0 && size > own_system.send_size) size = own_system.send_size;
    return again ? -1 : send(fd, data, size, flags);
}

static uid_t own_geteuid(void) { return geteuid() + own_system.other_user; }
static gid_t own_getegid(void) { return getegid() + own_system.other_group; }

#define own_bind bind
#define own_clock_gettime clock_gettime
#define own_close close
#define own_connect connect
#define own_eventfd eventfd
#define own_freeaddrinfo freeaddrinfo
#define own_freeifaddrs freeifaddrs
#define own_getaddrinfo getaddrinfo
#define own_getenv getenv
#define own_getgid getgid
#define own_getifaddrs getifaddrs
#define own_getrandom getrandom
#define own_getpeername getpeername
#define own_getsockname getsockname
#define own_getsockopt getsockopt
#define own_getuid getuid
#define own_if_nametoindex if_nametoindex
#define own_ioctl ioctl
#define own_nanosleep nanosleep
#define own_poll poll
#define own_read read
#define own_recv recv
#define own_setsockopt setsockopt
#define own_shutdown shutdown
#define own_socket socket
#define own_stat stat
#define own_write write
#define MTWS_SYS(name) own_##name

#endif
