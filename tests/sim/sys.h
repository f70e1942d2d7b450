/* The system calls of mtws.h, led into the simulated world: native.h defines them. Included before
 * mtws.h, in place of its own choice.
 */
#ifndef MTWS_SIM_SYS_H_INCLUDED
#define MTWS_SIM_SYS_H_INCLUDED

static unsigned sim_sys_calls; /* within one mtws_poll */

#define MTWS_SYS(name) (sim_sys_calls++, sim_sys_##name)

static int sim_sys_clock_gettime(clockid_t id, struct timespec *out);
static ssize_t sim_sys_getrandom(void *out, size_t size, unsigned flags);
static int sim_sys_socket(int family, int type, int protocol);
static int sim_sys_bind(int fd, const struct sockaddr *address, socklen_t size);
static int sim_sys_connect(int fd, const struct sockaddr *address, socklen_t size);
static int sim_sys_setsockopt(int fd, int level, int name, const void *value, socklen_t size);
static int sim_sys_getsockname(int fd, struct sockaddr *out, socklen_t *size);
static int sim_sys_getpeername(int fd, struct sockaddr *out, socklen_t *size);
static int sim_sys_getsockopt(int fd, int level, int name, void *value, socklen_t *size);
static int sim_sys_poll(struct pollfd *fds, nfds_t count, int timeout_ms);
static ssize_t sim_sys_recv(int fd, void *out, size_t size, int flags);
static ssize_t sim_sys_send(int fd, const void *data, size_t size, int flags);
static ssize_t sim_sys_read(int fd, void *out, size_t size);
static ssize_t sim_sys_write(int fd, const void *data, size_t size);
static int sim_sys_ioctl(int fd, unsigned long request, int *out);
static int sim_sys_shutdown(int fd, int how);
static int sim_sys_close(int fd);
static int sim_sys_eventfd(unsigned count, int flags);
static int sim_sys_nanosleep(const struct timespec *time, struct timespec *left);
static int sim_sys_open(const char *path, int flags);
static int sim_sys_stat(const char *path, struct stat *out);
static unsigned sim_sys_if_nametoindex(const char *name);
static int sim_sys_getaddrinfo(const char *host, const char *service, const struct addrinfo *hints,
                               struct addrinfo **out);
static void sim_sys_freeaddrinfo(struct addrinfo *list);
static int sim_sys_getifaddrs(struct ifaddrs **out);
static void sim_sys_freeifaddrs(struct ifaddrs *list);
static char *sim_sys_getenv(const char *name);

#endif
