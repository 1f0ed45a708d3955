/* Two agents of libnice that tell each other their TCP candidates only, through a rendezvous server: then the checks of ICE.
 *
 * usage: driver ROLE SERVER_IP SERVER_PORT STUN_IP LOCAL_IP LOCAL_PORT SECONDS
 *
 * libnice learns the external address of its TCP candidates by STUN over UDP, and takes the TCP port to be mapped likewise.
 * Prints the chosen pair. Exits 0 once a line has gone both ways over it, 1 when there was none, 2 when it could not run. */

#include <agent.h>
#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum { COMPONENT = 1 };

static GMainLoop *loop;
static int server = -1, sent, got, code = 1;
static guint stream;

static gboolean quit(gpointer data) {
    (void)data;
    g_main_loop_quit(loop);
    return FALSE;
}

static void die(const char *why) {
    perror(why);
    exit(2);
}

static int dial_server(const char *ip, const char *port) {
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_port = htons((unsigned short)atoi(port))};
    int one = socket(AF_INET, SOCK_STREAM, 0);
    if (one < 0 || inet_pton(AF_INET, ip, &at.sin_addr) != 1 || connect(one, (struct sockaddr *)&at, sizeof at) < 0) {
        die("driver: reach the rendezvous server");
    }
    return one;
}

static void end_when_done(NiceAgent *agent) {
    NiceCandidate *local, *remote;
    if (!sent || !got || code == 0) {
        return;
    }
    code = 0;
    if (nice_agent_get_selected_pair(agent, stream, COMPONENT, &local, &remote)) {
        char one[NICE_ADDRESS_STRING_LEN], other[NICE_ADDRESS_STRING_LEN];
        nice_address_to_string(&local->addr, one);
        nice_address_to_string(&remote->addr, other);
        printf("pair %s:%u transport %d, %s:%u transport %d\n", one, nice_address_get_port(&local->addr), local->transport,
               other, nice_address_get_port(&remote->addr), remote->transport);
        fflush(stdout);
    }
    /* The other side may be yet to read. */
    g_timeout_add(300, quit, NULL);
}

static void on_received(NiceAgent *agent, guint id, guint component, guint length, gchar *text, gpointer data) {
    (void)id, (void)component, (void)length, (void)text, (void)data;
    got = 1;
    end_when_done(agent);
}

static void on_state(NiceAgent *agent, guint id, guint component, guint state, gpointer data) {
    (void)data;
    fprintf(stderr, "state %s\n", nice_component_state_to_string(state));
    if (state == NICE_COMPONENT_STATE_READY && !sent) {
        sent = nice_agent_send(agent, id, component, 6, "hello\n") > 0;
        end_when_done(agent);
    }
}

/* The answer of the server: two endpoints that are not needed here, and the other's SDP in Base64. */
static gboolean on_answer(GIOChannel *channel, GIOCondition condition, gpointer data) {
    NiceAgent *agent = data;
    gchar *line = NULL;
    gsize length;
    (void)condition;
    if (g_io_channel_read_line(channel, &line, NULL, NULL, NULL) != G_IO_STATUS_NORMAL) {
        g_main_loop_quit(loop);
        return FALSE;
    }
    guchar *sdp = g_base64_decode(strrchr(line, ' ') + 1, &length);
    gchar *text = g_strndup((gchar *)sdp, length);
    fprintf(stderr, "remote\n%s", text);
    if (nice_agent_parse_remote_sdp(agent, text) <= 0) {
        fprintf(stderr, "driver: no remote candidates\n");
    }
    return FALSE;
}

/* Takes the UDP candidates out of an SDP. They are gathered all the same: without them libnice finds no external address. */
static void keep_tcp(gchar *sdp) {
    gchar *to = sdp;
    for (gchar *line = sdp; *line;) {
        gchar *end = strchr(line, '\n');
        gsize length = end ? (gsize)(end - line) + 1 : strlen(line);
        gchar *udp = g_strstr_len(line, (gssize)length, " UDP ");
        if (!udp) {
            memmove(to, line, length);
            to += length;
        }
        line += length;
    }
    *to = '\0';
}

static void on_gathered(NiceAgent *agent, guint id, gpointer data) {
    (void)id, (void)data;
    gchar *sdp = nice_agent_generate_local_sdp(agent);
    keep_tcp(sdp);
    gchar *base64 = g_base64_encode((guchar *)sdp, strlen(sdp));
    gchar *line = g_strconcat(base64, "\n", NULL);
    fprintf(stderr, "local\n%s", sdp);
    if (write(server, line, strlen(line)) != (ssize_t)strlen(line)) {
        die("driver: write to the rendezvous server");
    }
    GIOChannel *channel = g_io_channel_unix_new(server);
    g_io_add_watch(channel, G_IO_IN | G_IO_HUP, on_answer, agent);
}

int main(int count, char **words) {
    if (count != 8) {
        fprintf(stderr, "usage: driver ROLE SERVER_IP SERVER_PORT STUN_IP LOCAL_IP LOCAL_PORT SECONDS\n");
        return 2;
    }
    guint port = (guint)atoi(words[6]);
    loop = g_main_loop_new(NULL, FALSE);
    server = dial_server(words[2], words[3]);
    NiceAgent *agent = nice_agent_new_full(g_main_loop_get_context(loop), NICE_COMPATIBILITY_RFC5245, NICE_AGENT_OPTION_NONE);
    g_object_set(agent, "ice-udp", TRUE, "ice-tcp", TRUE, "upnp", FALSE, "stun-server", words[4], "stun-server-port", 3478,
                 "controlling-mode", words[1][0] == 'a', NULL);
    NiceAddress own;
    nice_address_init(&own);
    nice_address_set_from_string(&own, words[5]);
    nice_agent_add_local_address(agent, &own);
    g_signal_connect(agent, "candidate-gathering-done", G_CALLBACK(on_gathered), NULL);
    g_signal_connect(agent, "component-state-changed", G_CALLBACK(on_state), NULL);
    stream = nice_agent_add_stream(agent, 1);
    nice_agent_set_stream_name(agent, stream, "application");
    nice_agent_set_port_range(agent, stream, COMPONENT, port, port + 20);
    nice_agent_attach_recv(agent, stream, COMPONENT, g_main_loop_get_context(loop), on_received, NULL);
    if (!nice_agent_gather_candidates(agent, stream)) {
        fprintf(stderr, "driver: no local candidates\n");
        return 2;
    }
    g_timeout_add_seconds((guint)atoi(words[7]), quit, NULL);
    g_main_loop_run(loop);
    return code;
}
