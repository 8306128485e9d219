/* An upstream that costs almost nothing: it answers like one Ollama pod with the model `bench:latest` loaded.
 *
 * A chat request is answered at once. A streamed one is paced by words in its prompt, which every proxy leaves alone:
 * "pace=50 chunks=200" sends 200 events, the k-th at start + k/50 s. One event is one HTTP chunk and one write. Its
 * content holds '@' and the time it was due (CLOCK_MONOTONIC, ns), so that lateness counts from then and waiting
 * in a full socket is not forgiven.
 *
 * Prints "listening PORT" and runs until its parent ends, a signal comes, or an hour has passed.
 */
#include "common.h"

#define MAX_REQUEST 16384
#define MAX_BACKLOG 262144 /* unsent bytes of one stream; beyond it, events wait to be made */

struct connection {
    int fd;
    char in[MAX_REQUEST + 1];
    int in_bytes;
    char *out;
    int out_bytes, out_room;
    bool is_waiting_to_write;
    bool is_streaming, wants_usage;
    char model[64];
    nanoseconds started, period;
    long sent, total;
    int place; /* in the heap, -1: not there */
};

static int epoll;
static struct alarm_clock bell;

/* --- the streams by the time their next event is due: a binary heap ------------------------------------------- */

static struct connection **heap;
static int heap_size, heap_room;

static nanoseconds due(const struct connection *c) { return c->started + (nanoseconds)c->sent * c->period; }

static void put(int place, struct connection *c) {
    heap[place] = c;
    c->place = place;
}

static void settle(int at) {
    struct connection *c = heap[at];
    while (at > 0 && due(c) < due(heap[(at - 1) / 2])) {
        put(at, heap[(at - 1) / 2]);
        at = (at - 1) / 2;
    }
    for (int child = 2 * at + 1; child < heap_size; child = 2 * at + 1) {
        if (child + 1 < heap_size && due(heap[child + 1]) < due(heap[child])) child++;
        if (due(c) <= due(heap[child])) break;
        put(at, heap[child]);
        at = child;
    }
    put(at, c);
}

static void schedule(struct connection *c) {
    if (heap_size == heap_room) {
        heap_room = heap_room ? 2 * heap_room : 1024;
        heap = realloc(heap, (size_t)heap_room * sizeof *heap);
        if (!heap) give_up("out of memory");
    }
    put(heap_size++, c);
    settle(c->place);
}

static void unschedule(struct connection *c) {
    int place = c->place;
    if (place < 0) return;
    c->place = -1;
    if (place == --heap_size) return;
    put(place, heap[heap_size]);
    settle(place);
}

/* --- bytes out ------------------------------------------------------------------------------------------------ */

static void watch(struct connection *c, bool write_too) {
    struct epoll_event event = {.events = EPOLLIN | (write_too ? EPOLLOUT : 0), .data.ptr = c};
    if (c->is_waiting_to_write == write_too) return;
    c->is_waiting_to_write = write_too;
    epoll_ctl(epoll, EPOLL_CTL_MOD, c->fd, &event);
}

static void keep(struct connection *c, const char *bytes, int count) {
    if (c->out_bytes + count > c->out_room) {
        c->out_room = 2 * (c->out_bytes + count);
        c->out = realloc(c->out, (size_t)c->out_room);
        if (!c->out) give_up("out of memory");
    }
    memcpy(c->out + c->out_bytes, bytes, (size_t)count);
    c->out_bytes += count;
}

/* A broken connection shows itself at the next read; here its bytes are only dropped. */
static void write_out(struct connection *c, const char *bytes, int count) {
    ssize_t written = c->out_bytes ? 0 : write(c->fd, bytes, (size_t)count);
    if (written == count || (written < 0 && errno != EAGAIN)) return;
    if (written < 0) written = 0;
    keep(c, bytes + written, count - (int)written);
    watch(c, true);
}

static void write_rest(struct connection *c) {
    ssize_t written = write(c->fd, c->out, (size_t)c->out_bytes);
    if (written <= 0) return;
    memmove(c->out, c->out + written, (size_t)(c->out_bytes - written));
    c->out_bytes -= (int)written;
    if (c->out_bytes) return;
    watch(c, false);
    if (c->is_streaming && c->place < 0) schedule(c);
}

static void write_json(struct connection *c, const char *status, const char *body) {
    char reply[4096];
    int bytes = snprintf(reply, sizeof reply,
                         "HTTP/1.1 %s\r\nContent-Type: application/json; charset=utf-8\r\n"
                         "Date: Fri, 21 Aug 2026 18:48:22 GMT\r\nContent-Length: %zu\r\n\r\n%s",
                         status, strlen(body), body);
    write_out(c, reply, bytes);
}

/* --- chat ----------------------------------------------------------------------------------------------------- */

#define CHUNK_HEAD \
    "data: {\"id\":\"chatcmpl-417\",\"object\":\"chat.completion.chunk\",\"created\":1787000000," \
    "\"model\":\"%s\",\"system_fingerprint\":\"fp_ollama\",\"choices\":"

__attribute__((format(printf, 2, 3))) static void write_event(struct connection *c, const char *format, ...) {
    char event[1024], framed[1100];
    va_list args;
    va_start(args, format);
    int bytes = vsnprintf(event, sizeof event, format, args);
    va_end(args);
    write_out(c, framed, snprintf(framed, sizeof framed, "%x\r\n%s\r\n", (unsigned)bytes, event));
}

static void write_token(struct connection *c) {
    write_event(c,
                CHUNK_HEAD "[{\"index\":0,\"delta\":{%s\"content\":\"@%019llu token \"},"
                           "\"finish_reason\":null}]}\n\n",
                c->model, c->sent ? "" : "\"role\":\"assistant\",", (unsigned long long)due(c));
    c->sent++;
}

static void write_end(struct connection *c) {
    write_event(c, CHUNK_HEAD "[{\"index\":0,\"delta\":{},\"finish_reason\":\"stop\"}]}\n\n", c->model);
    if (c->wants_usage)
        write_event(c, CHUNK_HEAD "[],\"usage\":{\"prompt_tokens\":12,\"completion_tokens\":%ld,\"total_tokens\":%ld}}\n\n",
                    c->model, c->total, c->total + 12);
    write_event(c, "data: [DONE]\n\n");
    write_out(c, "0\r\n\r\n", 5);
    c->is_streaming = false;
}

/* Every event that is due by now. A stream with too much unsent waits for its reader: see write_rest. */
static void advance(struct connection *c, nanoseconds at) {
    while (c->sent < c->total && due(c) <= at && c->out_bytes < MAX_BACKLOG) write_token(c);
    if (c->sent == c->total) {
        unschedule(c);
        write_end(c);
    } else if (c->out_bytes >= MAX_BACKLOG) {
        unschedule(c);
    } else {
        settle(c->place);
    }
}

static double number_after(const char *text, const char *name, double otherwise) {
    const char *found = strstr(text, name);
    return found ? atof(found + strlen(name)) : otherwise;
}

/* True for "name":true and "name": true; the requests are ours, so no more of JSON is needed. */
static bool has_true(const char *body, const char *name) {
    const char *found = strstr(body, name);
    if (!found) return false;
    found += strlen(name);
    found += strspn(found, " :");
    return strncmp(found, "true", 4) == 0;
}

static void read_model(struct connection *c, const char *body) {
    const char *found = strstr(body, "\"model\"");
    c->model[0] = 0;
    if (found) sscanf(found + 7, " : \"%63[^\"]\"", c->model);
}

static void start_stream(struct connection *c, const char *body) {
    static const char head[] = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n"
                               "Date: Fri, 21 Aug 2026 18:48:22 GMT\r\nTransfer-Encoding: chunked\r\n\r\n";
    c->is_streaming = true;
    c->wants_usage = has_true(body, "\"include_usage\"");
    c->started = now();
    c->period = (nanoseconds)(1e9 / number_after(body, "pace=", 20));
    c->total = (long)number_after(body, "chunks=", 20);
    c->sent = 0;
    write_out(c, head, sizeof head - 1);
    schedule(c);
    advance(c, c->started);
}

static void answer_chat(struct connection *c, const char *body) {
    char answer[1024];
    read_model(c, body);
    if (has_true(body, "\"stream\"")) {
        start_stream(c, body);
        return;
    }
    snprintf(answer, sizeof answer,
             "{\"id\":\"chatcmpl-417\",\"object\":\"chat.completion\",\"created\":1787000000,\"model\":\"%s\","
             "\"system_fingerprint\":\"fp_ollama\",\"choices\":[{\"index\":0,\"message\":{\"role\":\"assistant\","
             "\"content\":\"The bench answers: forty-two words would be too many here, so these few have to do.\"},"
             "\"finish_reason\":\"stop\"}],"
             "\"usage\":{\"prompt_tokens\":12,\"completion_tokens\":19,\"total_tokens\":31}}\n",
             c->model);
    write_json(c, "200 OK", answer);
}

/* --- routes --------------------------------------------------------------------------------------------------- */

#define DIGEST "6f1d0a4c2b9e8d7f6a5b4c3d2e1f0a9b8c7d6e5f4a3b2c1d0e9f8a7b6c5d4e3f"
#define DETAILS \
    "{\"parent_model\":\"\",\"format\":\"gguf\",\"family\":\"llama\",\"families\":[\"llama\"]," \
    "\"parameter_size\":\"8.0B\",\"quantization_level\":\"Q4_K_M\"}"
#define MODEL "\"name\":\"bench:latest\",\"model\":\"bench:latest\",\"size\":2097152,\"digest\":\"" DIGEST "\",\"details\":" DETAILS

static const char *const fixed[][2] = {
    {"GET /api/version ", "{\"version\":\"0.32.6\"}"},
    {"GET /api/tags ", "{\"models\":[{" MODEL ",\"modified_at\":\"2026-08-21T18:48:22.1Z\",\"capabilities\":[\"completion\"]}]}"},
    {"GET /api/ps ", "{\"models\":[{" MODEL ",\"expires_at\":\"2318-01-01T00:00:00Z\",\"size_vram\":2097152,\"context_length\":4096}]}"},
    {"POST /api/show ", "{\"details\":" DETAILS ",\"model_info\":{\"general.architecture\":\"llama\",\"llama.context_length\":4096},"
                        "\"capabilities\":[\"completion\"],\"modified_at\":\"2026-08-21T18:48:22.1Z\"}"},
    {"POST /api/generate ", "{\"model\":\"bench:latest\",\"created_at\":\"2026-08-21T18:48:22.1Z\",\"response\":\"\","
                            "\"done\":true,\"done_reason\":\"load\"}"},
};

static void answer(struct connection *c, const char *head, const char *body) {
    if (strncmp(head, "POST /v1/chat/completions ", 26) == 0) {
        answer_chat(c, body);
        return;
    }
    for (size_t i = 0; i < sizeof fixed / sizeof *fixed; i++)
        if (strncmp(head, fixed[i][0], strlen(fixed[i][0])) == 0) {
            write_json(c, "200 OK", fixed[i][1]);
            return;
        }
    write_json(c, "404 Not Found", "{\"error\":{\"message\":\"the stub has no such path\",\"type\":\"api_error\"}}");
}

/* Bytes of the first whole request in the buffer, 0: more to come, -1: not for this stub. */
static int whole_request(char *in, char **body) {
    char *end = strstr(in, "\r\n\r\n"), *length;
    if (!end) return 0;
    *end = 0;
    length = strcasestr(in, "\r\ncontent-length:");
    bool is_chunked = strcasestr(in, "\r\ntransfer-encoding:") != NULL;
    long body_bytes = length ? atol(length + 17) : 0;
    *end = '\r';
    *body = end + 4;
    if (is_chunked || body_bytes < 0 || *body - in + body_bytes > MAX_REQUEST) return -1;
    return (int)(*body - in + body_bytes);
}

/* False: the connection is no use any more. */
static bool serve(struct connection *c) {
    char *body;
    while (!c->is_streaming && c->in_bytes) {
        int bytes = whole_request(c->in, &body);
        if (bytes < 0) return false;
        if (bytes == 0 || bytes > c->in_bytes) return c->in_bytes < MAX_REQUEST;
        char after = c->in[bytes];
        c->in[bytes] = 0;
        answer(c, c->in, body);
        c->in[bytes] = after;
        c->in_bytes -= bytes;
        memmove(c->in, c->in + bytes, (size_t)c->in_bytes + 1);
    }
    return true;
}

/* --- connections ---------------------------------------------------------------------------------------------- */

static void drop(struct connection *c) {
    unschedule(c);
    close(c->fd);
    free(c->out);
    free(c);
}

static void accept_all(int listener) {
    for (int fd; (fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK)) >= 0;) {
        struct connection *c = calloc(1, sizeof *c);
        struct epoll_event event = {.events = EPOLLIN, .data.ptr = c};
        if (!c) give_up("out of memory");
        c->fd = fd;
        c->place = -1;
        set_nodelay(fd);
        epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event);
    }
}

/* A client that closes its side has left, as in Ollama. */
static void take(struct connection *c, uint32_t events) {
    if (events & EPOLLOUT) write_rest(c);
    if (!(events & (EPOLLIN | EPOLLHUP | EPOLLERR))) return;
    ssize_t got = read(c->fd, c->in + c->in_bytes, (size_t)(MAX_REQUEST - c->in_bytes));
    if (got < 0 && errno == EAGAIN) return;
    if (got <= 0) {
        drop(c);
        return;
    }
    c->in_bytes += (int)got;
    c->in[c->in_bytes] = 0;
    if (!serve(c)) drop(c);
}

static int listen_somewhere(void) {
    int listener = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
    struct sockaddr_in address = loopback(0);
    socklen_t size = sizeof address;
    if (bind(listener, (struct sockaddr *)&address, size) < 0 || listen(listener, 4096) < 0)
        give_up("listen: %s", strerror(errno));
    getsockname(listener, (struct sockaddr *)&address, &size);
    printf("listening %d\n", ntohs(address.sin_port));
    fflush(stdout);
    return listener;
}

int main(void) {
    static int listener_mark;
    struct epoll_event events[256], event = {.events = EPOLLIN, .data.ptr = &listener_mark};
    bound_this_process(3600);
    epoll = epoll_create1(0);
    bell = new_alarm_clock(epoll);
    int listener = listen_somewhere();
    epoll_ctl(epoll, EPOLL_CTL_ADD, listener, &event);
    for (;;) {
        int count = epoll_wait(epoll, events, 256, -1);
        for (int i = 0; i < count; i++) {
            if (!events[i].data.ptr) rang(&bell);
            else if (events[i].data.ptr == &listener_mark) accept_all(listener);
            else take(events[i].data.ptr, events[i].events);
        }
        nanoseconds at = now();
        while (heap_size && due(heap[0]) <= at) advance(heap[0], at);
        if (heap_size) wake_at(&bell, due(heap[0]));
    }
}
