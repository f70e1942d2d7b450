/* Put before mtws.h (-include), it makes this Linux look like a BSD: what other systems have in place
 * of Linux's own calls is compiled, and as far as Linux has it run. Route sockets are netlink here;
 * the constants of route(4) are made up. */
#ifndef MTWS_TEST_OTHER_SYSTEM_H_INCLUDED
#define MTWS_TEST_OTHER_SYSTEM_H_INCLUDED

#ifndef _DEFAULT_SOURCE
#define _DEFAULT_SOURCE 1
#endif
#include <sys/socket.h>
#include <sys/stat.h>
#include <netinet/tcp.h>
#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

#undef __linux__
#undef SOCK_NONBLOCK
#undef SOCK_CLOEXEC
#undef MSG_NOSIGNAL
#define __OpenBSD__ 1
#define RTM_GET 4
#define RTM_LOSING 5
#define RTM_MISS 7
#define RTM_RESOLVE 11

#endif
