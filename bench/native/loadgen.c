/* Asks for chat answers over HTTP/1.1, checks every one, and prints what it saw as one line of JSON.
 *
 *   loadgen closed  PORT CONNECTIONS SECONDS WARM_SECONDS [-w PID]...        the next request when the last is answered
 *   loadgen open    PORT RATE        SECONDS WARM_SECONDS [-w PID]...        RATE requests a second, whatever happens
 *   loadgen streams PORT STREAMS     SECONDS WARM_SECONDS -p PACE [-w PID].. STREAMS streams of PACE events a second
 *
 * Latency of an open loop counts from the time the request was meant to start, that of an event from the time it was
 * due in the stub (see stub.c). Only what falls into the window of SECONDS after the warm-up is measured. `-w` names
 * processes whose on-CPU time in the window and resident memory before and at its end are reported, `-u` processes
 * (the stub) whose on-CPU time counts as our own. Every run ends by itself.
 */
#include "common.h"

#include <dirent.h>

#define RAMP_SECONDS 0.5 /* streams are opened one after the other over this time */
#define DRAIN_SECONDS 2.0 /* patience with what is unanswered at the end of the window */
#define MAX_OPEN_LOOP_CONNECTIONS 512
#define MAX_FAILURES 1000 /* then the run is over: nothing good will come */
#define MAX_HEAD 8192
#define MAX_LINE 4096

enum mode { CLOSED_LOOP, OPEN_LOOP, STREAMS };
enum place { IDLE, HEAD, BODY, CHUNK_SIZE, CHUNK, CHUNK_END, TRAILER };

struct connection {
    int fd; /* -1: not connected */
    enum place place;
    nanoseconds intended;
    bool is_closing, is_answered_right, saw_finish, saw_done;
    size_t left; /* bytes of the body or of the chunk still to come */
    long events;
    int head_bytes, line_bytes;
    char head[MAX_HEAD], line[MAX_LINE];
};

static struct {
    enum mode mode;
    int port, connections;
    double amount, seconds, warm_seconds, pace;
    int watched[16], watched_count, used[4], used_count;
} ask;

static struct {
    nanoseconds *latencies;
    size_t latency_count, latency_room;
    long arrived; /* answers or events in the window, whenever due: the work that CPU time was spent on */
    long in_time; /* of these, the ones due in the window: no backlog from before makes up for what is late */
    long answered, failed, unfinished, reconnects, streams_open;
    char first_failure[200];
} seen;

static int epoll, connection_count;
static struct connection *connections;
static struct alarm_clock bell;
static nanoseconds begin, window_start, window_end;
static char request[2048];
static int request_bytes;

static bool in_window(nanoseconds at) { return at >= window_start && at < window_end; }

static void note(nanoseconds latency) {
    if (seen.latency_count == seen.latency_room) {
        seen.latency_room = seen.latency_room ? 2 * seen.latency_room : 65536;
        seen.latencies = realloc(seen.latencies, seen.latency_room * sizeof *seen.latencies);
        if (!seen.latencies) give_up("out of memory");
    }
    seen.latencies[seen.latency_count++] = latency;
}

/* Late ones are waited for to the end of the drain: their latency counts too. */
static void count(nanoseconds due, nanoseconds at) {
    seen.arrived += in_window(at);
    seen.in_time += in_window(at) && in_window(due);
    if (in_window(due)) note(at - due);
}

/* --- what the processes under test use ------------------------------------------------------------------------ */

static nanoseconds thread_cpu(const char *task) {
    unsigned long long ran = 0;
    FILE *file = fopen(task, "r");
    if (!file) return 0;
    if (fscanf(file, "%llu", &ran) != 1) ran = 0;
    fclose(file);
    return ran;
}

static nanoseconds cpu_of(const int *pids, int count) {
    char path[400];
    nanoseconds sum = 0;
    for (int i = 0; i < count; i++) {
        snprintf(path, sizeof path, "/proc/%d/task", pids[i]);
        DIR *tasks = opendir(path);
        for (struct dirent *task; tasks && (task = readdir(tasks));) {
            if (task->d_name[0] == '.') continue;
            snprintf(path, sizeof path, "/proc/%d/task/%s/schedstat", pids[i], task->d_name);
            sum += thread_cpu(path);
        }
        if (tasks) closedir(tasks);
    }
    return sum;
}

static long resident_kb(const int *pids, int count) {
    char path[64], line[256];
    long sum = 0, kb;
    for (int i = 0; i < count; i++) {
        snprintf(path, sizeof path, "/proc/%d/smaps_rollup", pids[i]);
        FILE *file = fopen(path, "r");
        while (file && fgets(line, sizeof line, file))
            if (sscanf(line, "Rss: %ld kB", &kb) == 1) sum += kb;
        if (file) fclose(file);
    }
    return sum;
}

static nanoseconds own_cpu(void) {
    struct timespec t;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    return (nanoseconds)t.tv_sec * SECOND + (nanoseconds)t.tv_nsec + cpu_of(ask.used, ask.used_count);
}

/* --- asking --------------------------------------------------------------------------------------------------- */

static void write_request(void) {
    char body[1024], prompt[128];
    double life = RAMP_SECONDS + ask.warm_seconds + ask.seconds + 0.3;
    if (ask.mode == STREAMS) snprintf(prompt, sizeof prompt, "pace=%g chunks=%ld", ask.pace, (long)(ask.pace * life) + 1);
    else snprintf(prompt, sizeof prompt, "In a few words: what is six times seven?");
    int bytes = snprintf(body, sizeof body,
                         "{\"model\":\"bench\",\"messages\":[{\"role\":\"system\",\"content\":\"You are the assistant of a "
                         "benchmark. Answer shortly, and never the same question twice.\"},{\"role\":\"user\",\"content\":"
                         "\"%s\"}],\"temperature\":0.2,\"max_tokens\":64%s}",
                         prompt, ask.mode == STREAMS ? ",\"stream\":true" : "");
    request_bytes = snprintf(request, sizeof request,
                             "POST /v1/chat/completions HTTP/1.1\r\nHost: 127.0.0.1:%d\r\nAccept: application/json\r\n"
                             "Content-Type: application/json\r\nUser-Agent: bench\r\nAuthorization: Bearer bench\r\n"
                             "Content-Length: %d\r\n\r\n%s",
                             ask.port, bytes, body);
}

static void fail(struct connection *c, const char *why) {
    if (!seen.failed++) {
        int bytes = snprintf(seen.first_failure, sizeof seen.first_failure, "%s; head: %.100s", why, c->head);
        for (int i = 0; i < bytes && i < (int)sizeof seen.first_failure - 1; i++)
            if ((unsigned char)seen.first_failure[i] < ' ' || strchr("\"\\", seen.first_failure[i])) seen.first_failure[i] = ' ';
    }
    if (c->fd >= 0) close(c->fd);
    c->fd = -1;
    c->place = IDLE;
}

static bool open_connection(struct connection *c) {
    struct sockaddr_in address = loopback(ask.port);
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = c};
    c->fd = socket(AF_INET, SOCK_STREAM, 0);
    if (c->fd < 0 || connect(c->fd, (struct sockaddr *)&address, sizeof address) < 0) {
        fail(c, strerror(errno));
        return false;
    }
    set_nonblocking(c->fd);
    set_nodelay(c->fd);
    epoll_ctl(epoll, EPOLL_CTL_ADD, c->fd, &event);
    return true;
}

static void send_request(struct connection *c, nanoseconds intended) {
    c->head_bytes = c->line_bytes = 0;
    c->head[0] = 0;
    c->is_closing = c->is_answered_right = c->saw_finish = c->saw_done = false;
    c->events = 0;
    if (c->fd < 0 && !open_connection(c)) return;
    c->intended = intended;
    c->place = HEAD;
    if (write(c->fd, request, (size_t)request_bytes) != request_bytes) fail(c, "the request could not be written");
}

/* --- reading answers ------------------------------------------------------------------------------------------ */

static void read_event(struct connection *c, const char *line, size_t bytes, nanoseconds at) {
    const char *stamp;
    if (bytes < 7 || memcmp(line, "data: ", 6) != 0) return; /* empty lines, comments */
    if (memcmp(line + 6, "[DONE]", 6) == 0) {
        c->saw_done = true;
    } else if ((stamp = memmem(line, bytes, "\"@", 2))) {
        c->events++;
        count(strtoull(stamp + 2, NULL, 10), at);
    } else if (memmem(line, bytes, "\"finish_reason\":\"stop\"", 22)) {
        c->saw_finish = true;
    }
}

/* Lines that lie whole in `bytes` are read in place; the rest of one waits in c->line. */
static void read_stream(struct connection *c, const char *bytes, size_t count, nanoseconds at) {
    while (count) {
        const char *end = memchr(bytes, '\n', count);
        size_t part = end ? (size_t)(end - bytes) + 1 : count;
        if (!c->line_bytes && end) {
            read_event(c, bytes, part, at);
        } else if (c->line_bytes + part < MAX_LINE) {
            memcpy(c->line + c->line_bytes, bytes, part);
            c->line_bytes += (int)part;
            if (end) {
                c->line[c->line_bytes] = 0;
                read_event(c, c->line, (size_t)c->line_bytes, at);
                c->line_bytes = 0;
            }
        }
        bytes += part;
        count -= part;
    }
}

static void read_body(struct connection *c, const char *bytes, size_t count, nanoseconds at) {
    if (ask.mode == STREAMS) {
        read_stream(c, bytes, count, at);
    } else if (c->line_bytes + count < MAX_LINE) {
        memcpy(c->line + c->line_bytes, bytes, count);
        c->line_bytes += (int)count;
    }
}

/* An answer counts only if it is the one that the stub gave, whole. */
static bool is_right(struct connection *c) {
    if (!c->is_answered_right) return false;
    if (ask.mode == STREAMS) return c->saw_finish && c->saw_done && c->events > 0;
    return memmem(c->line, (size_t)c->line_bytes, "The bench answers", 17) && memchr("}\n", c->line[c->line_bytes - 1], 2);
}

static void complete(struct connection *c, nanoseconds at) {
    c->place = IDLE;
    if (!is_right(c)) {
        fail(c, "a wrong or broken answer");
    } else {
        seen.answered++;
        if (ask.mode != STREAMS) count(c->intended, at);
        if (c->is_closing) {
            seen.reconnects++;
            close(c->fd);
            c->fd = -1;
        }
    }
}

/* False: the head is not what we can read. */
static bool read_head(struct connection *c, char *end) {
    char *length;
    end[2] = 0;
    c->is_answered_right = strncmp(c->head, "HTTP/1.1 200", 12) == 0;
    c->is_closing = strcasestr(c->head, "\r\nconnection: close\r\n") != NULL;
    if (strcasestr(c->head, "\r\ntransfer-encoding: chunked\r\n")) {
        c->place = CHUNK_SIZE;
        c->left = 0;
        return true;
    }
    length = strcasestr(c->head, "\r\ncontent-length:");
    if (!length) return false;
    c->place = BODY;
    c->left = strtoul(length + 17, NULL, 10);
    return c->left > 0;
}

/* Bytes of `bytes` that belong to the head; the place moves on when the head is whole. */
static size_t take_head(struct connection *c, const char *bytes, size_t count) {
    int before = c->head_bytes;
    size_t part = count < (size_t)(MAX_HEAD - 1 - before) ? count : (size_t)(MAX_HEAD - 1 - before);
    memcpy(c->head + before, bytes, part);
    c->head_bytes += (int)part;
    c->head[c->head_bytes] = 0;
    char *end = strstr(c->head + (before > 3 ? before - 3 : 0), "\r\n\r\n");
    if (!end) {
        if (c->head_bytes == MAX_HEAD - 1) fail(c, "a head without end");
        return part;
    }
    part = (size_t)(end + 4 - c->head) - (size_t)before;
    if (!read_head(c, end)) fail(c, "an answer without length, or empty");
    return part;
}

static int hex(char c) { return c >= '0' && c <= '9' ? c - '0' : (c | 32) >= 'a' && (c | 32) <= 'f' ? (c | 32) - 'a' + 10 : -1; }

static size_t take_chunk_size(struct connection *c, const char *bytes) {
    if (hex(*bytes) >= 0) c->left = c->left * 16 + (size_t)hex(*bytes);
    else if (*bytes == '\n') c->place = c->left ? CHUNK : TRAILER;
    return 1;
}

static size_t take_data(struct connection *c, const char *bytes, size_t count, nanoseconds at) {
    size_t part = count < c->left ? count : c->left;
    read_body(c, bytes, part, at);
    c->left -= part;
    if (!c->left && c->place == CHUNK) c->place = CHUNK_END;
    else if (!c->left) complete(c, at);
    return part;
}

static void take(struct connection *c, const char *bytes, size_t count, nanoseconds at) {
    while (count && c->place != IDLE && c->fd >= 0) {
        size_t part = 1;
        switch (c->place) {
        case HEAD: part = take_head(c, bytes, count); break;
        case CHUNK_SIZE: part = take_chunk_size(c, bytes); break;
        case BODY:
        case CHUNK: part = take_data(c, bytes, count, at); break;
        case CHUNK_END:
            if (*bytes == '\n') c->place = CHUNK_SIZE;
            break;
        case TRAILER: /* nobody sends trailers: the next line is the empty one */
            if (*bytes == '\n') complete(c, at);
            break;
        case IDLE: break;
        }
        bytes += part;
        count -= part;
    }
}

static void read_some(struct connection *c) {
    static char bytes[65536];
    ssize_t got = read(c->fd, bytes, sizeof bytes);
    if (got < 0 && errno == EAGAIN) return;
    if (got > 0) {
        take(c, bytes, (size_t)got, now());
    } else if (c->place == IDLE) { /* the server closed an idle connection, as it may */
        seen.reconnects++;
        close(c->fd);
        c->fd = -1;
    } else {
        fail(c, "closed in the middle");
    }
    if (ask.mode == CLOSED_LOOP && c->place == IDLE && now() < window_end && seen.failed < MAX_FAILURES)
        send_request(c, now());
}

/* --- the three ways to ask ------------------------------------------------------------------------------------ */

static long started; /* requests or streams begun, or, in an open loop, taken from the queue */

static nanoseconds start_of(long number) {
    double between = ask.mode == STREAMS ? RAMP_SECONDS / ask.amount : 1 / ask.amount;
    return begin + (nanoseconds)((double)number * between * 1e9);
}

static long total_to_start(void) {
    if (ask.mode == OPEN_LOOP) return (long)(ask.amount * (ask.warm_seconds + ask.seconds));
    return connection_count;
}

static struct connection *idle_connection(void) {
    if (ask.mode != OPEN_LOOP) return &connections[started];
    for (int i = 0; i < connection_count; i++) /* the lowest first: few connections while few are needed */
        if (connections[i].place == IDLE) return &connections[i];
    return NULL;
}

/* Starts what is due and has a connection, and sets the clock for what is not due yet. */
static void start_due(void) {
    struct connection *c;
    while (started < total_to_start() && seen.failed < MAX_FAILURES) {
        nanoseconds start = ask.mode == CLOSED_LOOP ? begin : start_of(started);
        if (start > now()) {
            wake_at(&bell, start);
            return;
        }
        if (!(c = idle_connection())) return;
        started++;
        send_request(c, start);
    }
}

static long busy(void) {
    long count = 0;
    for (int i = 0; i < connection_count; i++) count += connections[i].place != IDLE;
    return count;
}

static void run_until(nanoseconds end, bool may_stop_when_idle) {
    struct epoll_event events[256];
    while (now() < end && seen.failed < MAX_FAILURES) {
        start_due();
        if (may_stop_when_idle && started == total_to_start() && !busy()) return;
        if (started == total_to_start()) wake_at(&bell, end);
        else if (!bell.armed) wake_at(&bell, end);
        int wait = (int)((end - now()) / 1000000) + 1;
        int count = epoll_wait(epoll, events, 256, end > now() ? wait : 0);
        for (int i = 0; i < count; i++) {
            struct connection *c = events[i].data.ptr;
            if (!c) rang(&bell);
            else if (c->fd >= 0) read_some(c);
        }
    }
}

/* --- the report ----------------------------------------------------------------------------------------------- */

static int by_size(const void *a, const void *b) {
    nanoseconds x = *(const nanoseconds *)a, y = *(const nanoseconds *)b;
    return (x > y) - (x < y);
}

static double percentile_us(double share) {
    if (!seen.latency_count) return 0;
    return (double)seen.latencies[(size_t)(share * (double)(seen.latency_count - 1))] / 1000;
}

static void report(nanoseconds cpu, nanoseconds own, double seconds, long kb_before, long kb_after) {
    qsort(seen.latencies, seen.latency_count, sizeof *seen.latencies, by_size);
    printf("{\"seconds\":%.4f,\"answered\":%ld,\"failed\":%ld,\"unfinished\":%ld,\"reconnects\":%ld,"
           "\"streams_open\":%ld,\"arrived\":%ld,\"in_time\":%ld,\"expected\":%.0f,\"timed\":%zu,\"p50_us\":%.1f,\"p99_us\":%.1f,\"max_us\":%.1f,"
           "\"cpu_ns\":%llu,\"own_cpu_ns\":%llu,\"rss_before_kb\":%ld,\"rss_after_kb\":%ld,\"first_failure\":\"%s\"}\n",
           seconds, seen.answered, seen.failed, seen.unfinished, seen.reconnects, seen.streams_open,
           seen.arrived, seen.in_time, ask.mode == STREAMS ? ask.amount * ask.pace * seconds : ask.amount * seconds, seen.latency_count,
           percentile_us(0.5), percentile_us(0.99), percentile_us(1), (unsigned long long)cpu, (unsigned long long)own,
           kb_before, kb_after, seen.first_failure);
}

static void read_arguments(int count, char **arguments) {
    static const char *const modes[] = {"closed", "open", "streams"};
    if (count < 6) give_up("usage: loadgen closed|open|streams PORT AMOUNT SECONDS WARM_SECONDS [-p PACE] [-w PID] [-u PID]");
    for (ask.mode = CLOSED_LOOP; strcmp(arguments[1], modes[ask.mode]) != 0; ask.mode++)
        if (ask.mode == STREAMS) give_up("closed, open or streams, not %s", arguments[1]);
    ask.port = atoi(arguments[2]);
    ask.amount = atof(arguments[3]);
    ask.seconds = atof(arguments[4]);
    ask.warm_seconds = atof(arguments[5]);
    for (int i = 6; i + 1 < count; i += 2) {
        if (strcmp(arguments[i], "-p") == 0) ask.pace = atof(arguments[i + 1]);
        else if (strcmp(arguments[i], "-w") == 0 && ask.watched_count < 16) ask.watched[ask.watched_count++] = atoi(arguments[i + 1]);
        else if (strcmp(arguments[i], "-u") == 0 && ask.used_count < 4) ask.used[ask.used_count++] = atoi(arguments[i + 1]);
        else give_up("unknown or too many: %s", arguments[i]);
    }
    if (ask.amount < 1 || ask.seconds <= 0 || ask.seconds > 60) give_up("the amount or the time makes no sense");
    if (ask.mode == STREAMS && ask.pace <= 0) give_up("streams need -p PACE");
}

static void prepare(void) {
    connection_count = ask.mode == OPEN_LOOP ? MAX_OPEN_LOOP_CONNECTIONS : (int)ask.amount;
    connections = calloc((size_t)connection_count, sizeof *connections);
    if (!connections) give_up("out of memory");
    for (int i = 0; i < connection_count; i++) connections[i].fd = -1;
    epoll = epoll_create1(0);
    bell = new_alarm_clock(epoll);
    write_request();
}

int main(int count, char **arguments) {
    read_arguments(count, arguments);
    bound_this_process((unsigned)(ask.seconds + ask.warm_seconds) + 30);
    prepare();
    long kb_before = resident_kb(ask.watched, ask.watched_count);
    begin = now();
    double warm_seconds = ask.warm_seconds + (ask.mode == STREAMS ? RAMP_SECONDS : 0);
    window_start = begin + (nanoseconds)(warm_seconds * 1e9);
    window_end = window_start + (nanoseconds)(ask.seconds * 1e9);
    run_until(window_start, false);
    nanoseconds start = now(), cpu = cpu_of(ask.watched, ask.watched_count), own = own_cpu();
    for (int i = 0; i < connection_count; i++) seen.streams_open += connections[i].events > 0;
    run_until(window_end, false);
    cpu = cpu_of(ask.watched, ask.watched_count) - cpu;
    own = own_cpu() - own;
    double seconds = (double)(now() - start) / 1e9;
    long kb_after = resident_kb(ask.watched, ask.watched_count);
    run_until(window_end + (nanoseconds)(DRAIN_SECONDS * 1e9), true);
    seen.unfinished = busy() + total_to_start() - started;
    report(cpu, own, seconds, kb_before, kb_after);
    return 0;
}
