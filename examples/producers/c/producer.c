/*
 * Hands lines of events to trunkline's stream socket and waits until each is on its disk.
 *
 *   waiting ──write──> unanswered ──answer──> done
 *      ^                   │  └─ "again later" ─> again
 *      └── connection lost, or all the rest answered ──┘
 *
 * What it keeps to
 * - One line out, one answer back, in the same order; at most WINDOW lines are ahead of their answers.
 * - A line is forgotten when its answer has come, not when it was written. After a lost connection all
 *   unanswered lines go again, in their order. Their events have an eventId, so trunkline stores none twice.
 * - Once a line has to go again no later line is written before it.
 * - It reads answers while it writes. A producer that only writes stops when trunkline stops reading.
 * - It never prints an event: the answer names array, index and field, and that is enough.
 *
 * cc -std=c99 -O2 -Wall -Wextra -Werror -o producer producer.c
 */
#define _POSIX_C_SOURCE 200809L

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#define WINDOW 256              /* lines; trunkline reads at most ingest.max_unacked = 1024 ahead */
#define CHUNK 65536             /* bytes asked for in one read, and written ahead */
#define MAX_LINE (4UL << 20)    /* bytes; ingest.max_line is 1 MiB unless configured otherwise */
#define MAX_ANSWER (8UL << 20)  /* bytes; a thousand refusals with room to spare */
#define PAUSE_FIRST 50          /* ms, doubled up to PAUSE_MOST while nothing gets through */
#define PAUSE_MOST 5000

struct line {
    struct line *next;
    unsigned long number;       /* in the input, for messages */
    size_t length;
    char bytes[];               /* with its line feed */
};

struct queue {
    struct line *head, *last;
    size_t count;
};

struct buffer {
    char *bytes;
    size_t length, capacity;
};

static struct queue waiting, unanswered, again;
static struct buffer input, output, answers;
static unsigned long lines_read;
static int input_fd = STDIN_FILENO, input_ended;
static size_t searched;         /* bytes of `input` without a line feed */
static int skipping;            /* in the rest of a line over MAX_LINE */
static int was_refused, told_of_ids;
static int pause_ms = PAUSE_FIRST;
static char trouble[512];       /* what was last said, so that it is said once */

static void fail(const char *what)
{
    fprintf(stderr, "producer: %s: %s\n", what, strerror(errno));
    exit(1);
}

/* Says once why nothing gets through. */
static void say(const char *format, ...)
{
    char text[sizeof trouble];
    va_list arguments;

    va_start(arguments, format);
    vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    if (strcmp(text, trouble) != 0)
        fprintf(stderr, "producer: %s; trying again\n", text);
    memcpy(trouble, text, sizeof trouble);
}

static void rest(void)
{
    struct timespec time = {pause_ms / 1000, pause_ms % 1000 * 1000000L};

    nanosleep(&time, NULL);
    pause_ms = pause_ms * 2 < PAUSE_MOST ? pause_ms * 2 : PAUSE_MOST;
}

static void progressed(void)
{
    pause_ms = PAUSE_FIRST;
    trouble[0] = '\0';
}

static void put(struct queue *queue, struct line *line)
{
    line->next = NULL;
    if (queue->last)
        queue->last->next = line;
    else
        queue->head = line;
    queue->last = line;
    queue->count++;
}

static struct line *take(struct queue *queue)
{
    struct line *line = queue->head;

    if (line) {
        queue->head = line->next;
        if (!queue->head)
            queue->last = NULL;
        queue->count--;
    }
    return line;
}

/* Everything unanswered waits again, in the order of the input. */
static void rewind_lines(void)
{
    struct queue all = {NULL, NULL, 0};
    struct line *line;

    while ((line = take(&again)) || (line = take(&unanswered)) || (line = take(&waiting)))
        put(&all, line);
    waiting = all;
}

static void make_room(struct buffer *buffer, size_t more)
{
    if (buffer->capacity - buffer->length >= more)
        return;
    while (buffer->capacity - buffer->length < more)
        buffer->capacity = buffer->capacity ? buffer->capacity * 2 : CHUNK;
    buffer->bytes = realloc(buffer->bytes, buffer->capacity);
    if (!buffer->bytes)
        fail("out of memory");
}

static void drop_front(struct buffer *buffer, size_t count)
{
    buffer->length -= count;
    memmove(buffer->bytes, buffer->bytes + count, buffer->length);
}

/* --- the input ------------------------------------------------------------------------------- */

static void keep_line(const char *bytes, size_t length)
{
    struct line *line;
    size_t blank = 0;

    lines_read++;
    while (blank < length && strchr(" \t\r", bytes[blank]) && bytes[blank])
        blank++;
    if (blank == length)        /* a blank line gets no answer, so it must not be waited for */
        return;
    line = malloc(sizeof *line + length + 1);
    if (!line)
        fail("out of memory");
    line->number = lines_read;
    line->length = length + 1;
    memcpy(line->bytes, bytes, length);
    line->bytes[length] = '\n';
    put(&waiting, line);
}

static void refuse_long_line(void)
{
    fprintf(stderr, "line %lu: over %lu bytes, not sent\n", lines_read + 1, MAX_LINE);
    was_refused = 1;
}

/* Reads once and cuts what came into lines; a line may take many reads. */
static void read_input(void)
{
    ssize_t count;
    size_t start = 0;
    char *end;

    make_room(&input, CHUNK);
    count = read(input_fd, input.bytes + input.length, CHUNK);
    if (count < 0 && (errno == EINTR || errno == EAGAIN))
        return;
    if (count < 0)
        fail("input");
    input.length += (size_t)count;
    if (count == 0) {
        input_ended = 1;
        if (input.length > 0 && !skipping)  /* the last line needs no line feed */
            keep_line(input.bytes, input.length);
        input.length = 0;
        return;
    }
    while ((end = memchr(input.bytes + searched, '\n', input.length - searched))) {
        size_t length = (size_t)(end - input.bytes) - start;
        if (skipping)
            lines_read++;
        else
            keep_line(input.bytes + start, length);
        skipping = 0;
        start += length + 1;
        searched = start;
    }
    drop_front(&input, start);
    searched = input.length;
    if (searched > MAX_LINE) {
        if (!skipping)
            refuse_long_line();
        skipping = 1;
    }
    if (skipping)
        input.length = searched = 0;
}

/* --- answers --------------------------------------------------------------------------------- */

struct answer {
    int has_errors, is_retryable, has_assigned;
    int refused;                /* entries of "errors" */
    long status;
    unsigned long line_number;  /* 0: nothing is printed */
};

static int is_word(const char *text, size_t length, const char *word)
{
    return strlen(word) == length && memcmp(text, word, length) == 0;
}

/* One value of an answer. Level 1 is the answer itself, level 3 an entry of "errors". */
static void see(struct answer *answer, int level, const char *key, size_t key_length,
                const char *value, size_t length)
{
    if (level == 1 && is_word(key, key_length, "errors"))
        answer->has_errors = 1;
    if (level == 1 && is_word(key, key_length, "assigned"))
        answer->has_assigned = 1;
    if (level == 1 && is_word(key, key_length, "status"))
        answer->status = strtol(value, NULL, 10);
    if (level == 3 && is_word(key, key_length, "retryable") && is_word(value, length, "true"))
        answer->is_retryable = 1;
    if ((level == 1 || level == 3) && is_word(key, key_length, "message") && answer->line_number)
        /* As it stands in the JSON: a control character cannot be in it. */
        fprintf(stderr, "line %lu: %.*s\n", answer->line_number, (int)length, value);
}

/* Walks over the JSON of an answer. Enough for what trunkline writes; use a library if you have one. */
static void walk(struct answer *answer, const char *at, const char *end)
{
    const char *key = "", *start;
    size_t key_length = 0;
    int level = 0;

    while (at < end) {
        start = at++;
        switch (*start) {
        case '{':
        case '[':
            see(answer, level, key, key_length, start, 1);
            if (level++ == 2 && *start == '{')
                answer->refused++;
            break;
        case '}':
        case ']':
            level--;
            break;
        case ',':
        case ':':
        case ' ':
            break;
        case '"':
            while (at < end && *at != '"')
                at += *at == '\\' ? 2 : 1;
            if (at >= end)
                return;
            if (at + 1 < end && at[1] == ':') {
                key = start + 1;
                key_length = (size_t)(at - key);
            } else {
                see(answer, level, key, key_length, start + 1, (size_t)(at - start) - 1);
            }
            at++;
            break;
        default:
            while (at < end && !strchr(",}] ", *at))
                at++;
            see(answer, level, key, key_length, start, (size_t)(at - start));
        }
    }
}

/* What one answer means for the oldest unanswered line. 0: the connection is of no more use. */
static int take_answer(const char *bytes, size_t length)
{
    struct answer answer = {0, 0, 0, 0, 0, 0};
    struct line *line;

    walk(&answer, bytes, bytes + length);
    if (answer.status == 403 || answer.status == 503) {
        /* Stands for the connection, not for a line: we may not connect, or too many are. */
        say("turned away with status %ld", answer.status);
        return 0;
    }
    if ((!answer.has_errors && !answer.status) || !(line = take(&unanswered))) {
        say("an answer that is none");
        return 0;
    }
    if (answer.is_retryable) {
        say("refused for now: the queue is full, the disk is low, or trunkline is stopping");
        put(&again, line);
        return 1;
    }
    progressed();
    if (answer.has_assigned && !told_of_ids) {
        fprintf(stderr, "line %lu: an event without eventId; sent twice it would be stored twice\n",
                line->number);
        told_of_ids = 1;
    }
    if (answer.refused || !answer.has_errors) {     /* without "errors" nothing of the line was taken */
        answer.line_number = line->number;
        walk(&answer, bytes, bytes + length);
        was_refused = 1;
    }
    free(line);
    return 1;
}

/* 0 when the connection has ended. */
static int read_answers(int fd)
{
    ssize_t count;
    size_t start = 0;
    char *end;

    make_room(&answers, CHUNK);
    count = recv(fd, answers.bytes + answers.length, CHUNK, 0);
    if (count < 0 && (errno == EINTR || errno == EAGAIN))
        return 1;
    if (count <= 0) {
        say("the connection is lost");
        return 0;
    }
    answers.length += (size_t)count;
    while ((end = memchr(answers.bytes + start, '\n', answers.length - start))) {
        size_t length = (size_t)(end - answers.bytes) - start;
        if (!take_answer(answers.bytes + start, length))
            return 0;
        start += length + 1;
    }
    drop_front(&answers, start);
    if (answers.length > MAX_ANSWER)
        say("an answer over %lu bytes", MAX_ANSWER);
    return answers.length <= MAX_ANSWER;
}

/* --- the connection -------------------------------------------------------------------------- */

static int connect_to(const struct sockaddr_un *address)
{
    int fd = socket(AF_UNIX, SOCK_STREAM, 0);

    if (fd < 0)
        fail("socket");
    if (connect(fd, (const struct sockaddr *)address, sizeof *address) < 0) {
        say("%s: %s", address->sun_path, strerror(errno));
        close(fd);
        return -1;
    }
    if (fcntl(fd, F_SETFL, O_NONBLOCK) < 0)
        fail("fcntl");
    return fd;
}

/* Lines on their way out; none while one has to go again. */
static void fill_output(void)
{
    while (!again.head && waiting.head && unanswered.count < WINDOW && output.length < CHUNK) {
        struct line *line = take(&waiting);
        make_room(&output, line->length);
        memcpy(output.bytes + output.length, line->bytes, line->length);
        output.length += line->length;
        put(&unanswered, line);
    }
}

/* Takes what the socket takes. 0 if it takes no more for ever; its answers may still be read. */
static int write_output(int fd)
{
    ssize_t count = send(fd, output.bytes, output.length, MSG_NOSIGNAL);

    if (count < 0 && (errno == EINTR || errno == EAGAIN))
        return 1;
    if (count < 0)
        return 0;
    drop_front(&output, (size_t)count);
    return 1;
}

static int is_done(void)
{
    return input_ended && !waiting.head && !unanswered.head && !again.head;
}

/* One connection to its end, or until everything is answered. */
static void session(int fd)
{
    int is_writable = 1;

    output.length = answers.length = 0;
    while (!is_done()) {
        struct pollfd polled[2];
        int wants_input;

        if (again.head && !unanswered.head) {
            rest();
            rewind_lines();
        }
        if (is_writable)
            fill_output();
        else
            output.length = 0;
        wants_input = !input_ended && !again.head && waiting.count + unanswered.count < WINDOW;
        polled[0].fd = fd;
        polled[0].events = output.length ? POLLIN | POLLOUT : POLLIN;
        polled[1].fd = wants_input ? input_fd : -1;
        polled[1].events = POLLIN;
        if (poll(polled, 2, -1) < 0) {
            if (errno == EINTR)
                continue;
            fail("poll");
        }
        if ((polled[0].revents & ~POLLOUT) && !read_answers(fd))
            break;
        if (polled[0].revents & POLLOUT)
            is_writable = write_output(fd);
        if (wants_input && polled[1].revents)
            read_input();
    }
    rewind_lines();
}

int main(int argc, char **argv)
{
    struct sockaddr_un address;

    memset(&address, 0, sizeof address);
    address.sun_family = AF_UNIX;
    if (argc < 2 || argc > 3 || strlen(argv[1]) >= sizeof address.sun_path) {
        fprintf(stderr, "usage: producer SOCKET [FILE]   (lines from FILE or standard input)\n");
        return 64;
    }
    strcpy(address.sun_path, argv[1]);
    if (argc == 3 && (input_fd = open(argv[2], O_RDONLY)) < 0)
        fail(argv[2]);
    while (!is_done()) {
        int fd = connect_to(&address);
        if (fd >= 0) {
            session(fd);
            close(fd);
        }
        if (!is_done())
            rest();
    }
    return was_refused;
}
