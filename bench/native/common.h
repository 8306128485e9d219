/* What the stub and the load generator share: one clock, loopback sockets, a wake-up time, a loud way to give up. */
#ifndef BENCH_COMMON_H
#define BENCH_COMMON_H

#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/timerfd.h>
#include <time.h>
#include <unistd.h>

#define SECOND 1000000000ull

typedef uint64_t nanoseconds;

static inline nanoseconds now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (nanoseconds)t.tv_sec * SECOND + (nanoseconds)t.tv_nsec;
}

static inline void give_up(const char *format, ...) {
    va_list args;
    va_start(args, format);
    vfprintf(stderr, format, args);
    va_end(args);
    fprintf(stderr, "\n");
    exit(1);
}

static inline struct sockaddr_in loopback(int port) {
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    return address;
}

static inline void set_nonblocking(int fd) { fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK); }

static inline void set_nodelay(int fd) {
    int on = 1;
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
}

/* Ends with the process that started it, and after `most_seconds` whatever happens; may open as many files as allowed. */
static inline void bound_this_process(unsigned most_seconds) {
    struct rlimit files;
    prctl(PR_SET_PDEATHSIG, SIGTERM);
    prctl(PR_SET_TIMERSLACK, 1);
    alarm(most_seconds);
    signal(SIGPIPE, SIG_IGN);
    if (getrlimit(RLIMIT_NOFILE, &files) == 0) {
        files.rlim_cur = files.rlim_max;
        setrlimit(RLIMIT_NOFILE, &files);
    }
}

/* A timer in the epoll set (its data is NULL): epoll_wait alone knows only whole milliseconds. */
struct alarm_clock {
    int fd;
    nanoseconds armed; /* 0: not armed */
};

static inline struct alarm_clock new_alarm_clock(int epoll) {
    struct alarm_clock clock = {timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK), 0};
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = NULL};
    if (clock.fd < 0 || epoll_ctl(epoll, EPOLL_CTL_ADD, clock.fd, &event) < 0) give_up("timerfd: %s", strerror(errno));
    return clock;
}

static inline void wake_at(struct alarm_clock *clock, nanoseconds at) {
    struct itimerspec spec = {.it_value = {.tv_sec = (time_t)(at / SECOND), .tv_nsec = (long)(at % SECOND)}};
    if (clock->armed == at) return;
    clock->armed = at;
    timerfd_settime(clock->fd, TFD_TIMER_ABSTIME, &spec, NULL);
}

static inline void rang(struct alarm_clock *clock) {
    uint64_t times;
    if (read(clock->fd, &times, sizeof times) > 0) clock->armed = 0;
}

#endif
