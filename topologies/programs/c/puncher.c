/* A plain pair in C: both dial each other at an agreed moment, each from the port that the other was told.
 *
 * usage: puncher LOCAL_IP LOCAL_PORT PEER_IP PEER_PORT START_IN_MS
 *
 * Exits 0 once a line has gone both ways over the direct connection, 1 when there was none, and 2 when it could not run. */

#include <arpa/inet.h>
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum { PATIENCE_MS = 2000 };

static long now_ms(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

static struct sockaddr_in endpoint(const char *ip, const char *port) {
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_port = htons((unsigned short)atoi(port))};
    if (inet_pton(AF_INET, ip, &at.sin_addr) != 1) {
        fprintf(stderr, "puncher: \"%s\" is no IPv4 address\n", ip);
        exit(2);
    }
    return at;
}

/* Dials once. Returns the connected socket, or -1 if the dial was refused or the time is up. */
static int dial(const struct sockaddr_in *local, const struct sockaddr_in *remote, long end) {
    int one = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0), yes = 1, error = 0;
    socklen_t length = sizeof error;
    if (one < 0 || setsockopt(one, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof yes) < 0 ||
        bind(one, (const struct sockaddr *)local, sizeof *local) < 0) {
        perror("puncher: bind");
        exit(2);
    }
    if (connect(one, (const struct sockaddr *)remote, sizeof *remote) < 0 && errno != EINPROGRESS) {
        close(one);
        return -1;
    }
    struct pollfd wait = {.fd = one, .events = POLLOUT};
    long left = end - now_ms();
    if (left > 0 && poll(&wait, 1, (int)left) == 1 && getsockopt(one, SOL_SOCKET, SO_ERROR, &error, &length) == 0 &&
        error == 0) {
        return one;
    }
    close(one);
    return -1;
}

/* Whether a line goes both ways before the time is up. */
static int greet(int stream, long end) {
    static const char line[] = "hello\n";
    char answer[sizeof line] = "";
    size_t got = 0;
    if (write(stream, line, sizeof line - 1) != (ssize_t)(sizeof line - 1)) {
        return 0;
    }
    while (got < sizeof line - 1) {
        struct pollfd wait = {.fd = stream, .events = POLLIN};
        long left = end - now_ms();
        if (left <= 0 || poll(&wait, 1, (int)left) != 1) {
            return 0;
        }
        ssize_t more = read(stream, answer + got, sizeof line - 1 - got);
        if (more <= 0) {
            return 0;
        }
        got += (size_t)more;
    }
    return memcmp(answer, line, sizeof line - 1) == 0;
}

int main(int count, char **words) {
    if (count != 6) {
        fprintf(stderr, "usage: puncher LOCAL_IP LOCAL_PORT PEER_IP PEER_PORT START_IN_MS\n");
        return 2;
    }
    struct sockaddr_in local = endpoint(words[1], words[2]), remote = endpoint(words[3], words[4]);
    usleep((useconds_t)atol(words[5]) * 1000);
    long end = now_ms() + PATIENCE_MS;
    while (now_ms() < end) {
        int stream = dial(&local, &remote, end);
        if (stream >= 0) {
            return greet(stream, end) ? 0 : 1;
        }
    }
    return 1;
}
