/* A NAT past connection tracking, in BPF: bpf_nat.sh compiles it for the node's addresses and puts it on the ingress of each device.
 *
 * It behaves as packet_nat.py does: endpoint-independent mapping that keeps the source port, address-and-port-dependent filtering,
 * silence to what nobody asked for, ICMP errors translated as RFC 5508 asks. Given are WAN, the index of the device
 * outside, OUTER, the external address, and IS_INSIDE(address). Packets with IP options and fragments are dropped.
 */
#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/in.h>
#include <linux/pkt_cls.h>

#define SECTION(name) __attribute__((section(name), used))
#define HELPER(number) __attribute__((kernel_helper(number)))
#define BIG_ENDIAN_16(value) __builtin_bswap16(value)
/* The netmask of so many bits, from 1. */
#define NETMASK(bits) __builtin_bswap32(~0u << (32 - (bits)))
#define ADDRESS(a, b, c, d) ((__u32)(a) | (__u32)(b) << 8 | (__u32)(c) << 16 | (__u32)(d) << 24)

void *lookup(const void *map, const void *key) HELPER(1);
long update(const void *map, const void *key, const void *value, __u64 flags) HELPER(2);
__u64 now(void) HELPER(5);
long store(struct __sk_buff *frame, __u32 offset, const void *from, __u32 length, __u64 flags) HELPER(9);
long replace_in_ip_checksum(struct __sk_buff *frame, __u32 offset, __u64 from, __u64 to, __u64 size) HELPER(10);
long replace_in_checksum(struct __sk_buff *frame, __u32 offset, __u64 from, __u64 to, __u64 flags) HELPER(11);
long load(const void *frame, __u32 offset, void *to, __u32 length) HELPER(26);
long redirect_to_neighbour(__u32 device, const void *next_hop, int length, __u64 flags) HELPER(152);

enum { FIN = 1, SYN = 2, RST = 4, ACK = 16 };
enum { UNREACHABLE = 3, EXCEEDED = 11 };
enum { BY_INSIDE = 1, BY_OUTSIDE = 2, BY_BOTH = 3 };

#define SECONDS 1000000000ull
/* How long an idle connection is remembered that only its SYN has begun, one that was answered, and one that has ended. */
#define OPENING (120 * SECONDS)
#define STANDING (432000 * SECONDS)
#define CLOSED (10 * SECONDS)

/* How many ports are tried for a connection, without a loop: where the loader has no CAP_PERFMON, the verifier follows what a
 * processor may speculate, and in there no loop ends. */
#define TRIES 16
#define FIRST_OTHER_PORT 1024
#define MOST_CONNECTIONS 16384

struct ip {
  __u8 version_and_length, service;
  __u16 length, id, fragment;
  __u8 ttl, protocol;
  __u16 checksum;
  __u32 source, destination;
} __attribute__((packed));

struct tcp {
  __u16 source, destination;
  __u32 sequence, acknowledgment;
  __u8 offset, flags;
  __u16 window, checksum, urgent;
};

struct icmp {
  __u8 type, code;
  __u16 checksum;
  __u32 rest;
  struct ip about;
  __u16 source, destination;
} __attribute__((packed));

#define IP ETH_HLEN
#define ABOVE_IP (IP + sizeof(struct ip))
#define AT(start, type, field) ((start) + __builtin_offsetof(struct type, field))

/* Addresses and ports as they are on the wire; nothing between them, since all of a key is compared. */
struct inside_endpoint {
  __u32 address, port;
};

struct outgoing_flow {
  __u32 inside, remote;
  __u16 inside_port, remote_port;
};

struct incoming_flow {
  __u32 remote;
  __u16 remote_port, port;
};

struct connection {
  __u64 dies;
  __u32 inside;
  __u16 inside_port;
  __u8 answered, closed;
};

#define MAP(name, key_type, value_type)                                                                  \
  struct {                                                                                               \
    int(*type)[BPF_MAP_TYPE_LRU_HASH];                                                                   \
    int(*max_entries)[MOST_CONNECTIONS];                                                                 \
    key_type *key;                                                                                       \
    value_type *value;                                                                                   \
  } name SECTION(".maps")

/* The port that each inside endpoint was given first. */
MAP(ports, struct inside_endpoint, __u16);
/* The port of each connection, and the connection that has it. */
MAP(port_of, struct outgoing_flow, __u16);
MAP(connections, struct incoming_flow, struct connection);

static __always_inline struct connection *living(const struct incoming_flow *flow) {
  struct connection *found = lookup(&connections, flow);
  if (!found) return 0;
  if (found->dies < now()) return 0;
  return found;
}

/* Notes what a segment does to its connection. A reset before any answer ends it at once. */
static __always_inline void saw(struct connection *connection, __u8 flags, __u8 by) {
  __u8 stood = connection->answered;
  if (flags & RST && !stood) {
    connection->dies = 0;
    return;
  }
  if (by == BY_OUTSIDE) connection->answered = 1;
  if (flags & FIN) connection->closed |= by;
  __u64 left = flags & RST || connection->closed == BY_BOTH   ? CLOSED
               : flags & SYN || !connection->answered ? OPENING
                                                              : STANDING;
  __u64 until = now() + left;
  if (flags & SYN && until < connection->dies) return;
  connection->dies = until;
}

/* The port for a new connection: that of its endpoint, or the next that is free towards the remote endpoint. 0: none is. */
static __always_inline __u16 port_for(const struct inside_endpoint *inside, struct incoming_flow *flow) {
  __u16 *first = lookup(&ports, inside);
  flow->port = inside->port;
  if (first) flow->port = *first;
#pragma GCC unroll 16
  for (__u32 tries = 0; tries < TRIES; tries++) {
    if (!living(flow)) return flow->port;
    flow->port = tries ? BIG_ENDIAN_16(FIRST_OTHER_PORT + tries - 1) : (__u16)inside->port;
  }
  return 0;
}

static __always_inline int leaves(struct __sk_buff *frame, struct ip *ip) {
  struct tcp tcp;
  if (ip->destination == OUTER || ip->protocol == IPPROTO_ICMP) return TC_ACT_SHOT;
  /* The kernel routes what stays inside, and says that a packet has come too far. */
  if (IS_INSIDE(ip->destination) || ip->protocol != IPPROTO_TCP || ip->ttl <= 1) return TC_ACT_OK;
  if (load(frame, ABOVE_IP, &tcp, sizeof tcp)) return TC_ACT_SHOT;
  struct inside_endpoint inside = {ip->source, tcp.source};
  struct outgoing_flow out = {ip->source, ip->destination, tcp.source, tcp.destination};
  struct incoming_flow back = {ip->destination, tcp.destination, 0};
  __u16 *known = lookup(&port_of, &out);
  struct connection *connection = 0;
  if (known) {
    back.port = *known;
    connection = living(&back);
    /* The port may be another's by now. */
    if (connection && (connection->inside != ip->source || connection->inside_port != tcp.source)) connection = 0;
  }
  if (!connection) {
    if ((tcp.flags & (SYN | ACK | RST)) != SYN) return TC_ACT_SHOT;
    if (!port_for(&inside, &back)) return TC_ACT_SHOT;
    struct connection new = {now() + OPENING, ip->source, tcp.source, 0, 0};
    update(&connections, &back, &new, BPF_ANY);
    update(&port_of, &out, &back.port, BPF_ANY);
    update(&ports, &inside, &back.port, BPF_ANY);
    connection = lookup(&connections, &back);
    if (!connection) return TC_ACT_SHOT;
  }
  saw(connection, tcp.flags, BY_INSIDE);
  __u32 outer = OUTER;
  __u16 lived = *(__u16 *)&ip->ttl, lives = lived - 1;
  replace_in_checksum(frame, AT(ABOVE_IP, tcp, checksum), ip->source, outer, BPF_F_PSEUDO_HDR | sizeof outer);
  replace_in_checksum(frame, AT(ABOVE_IP, tcp, checksum), tcp.source, back.port, sizeof back.port);
  replace_in_ip_checksum(frame, AT(IP, ip, checksum), ip->source, outer, sizeof outer);
  replace_in_ip_checksum(frame, AT(IP, ip, checksum), lived, lives, sizeof lives);
  store(frame, AT(IP, ip, source), &outer, sizeof outer, 0);
  store(frame, AT(IP, ip, ttl), &lives, sizeof lives, 0);
  store(frame, AT(ABOVE_IP, tcp, source), &back.port, sizeof back.port, 0);
  return redirect_to_neighbour(WAN, 0, 0, 0);
}

static __always_inline void to_inside(struct __sk_buff *frame, const struct ip *ip, __u32 address) {
  replace_in_ip_checksum(frame, AT(IP, ip, checksum), ip->destination, address, sizeof address);
  store(frame, AT(IP, ip, destination), &address, sizeof address, 0);
}

/* An ICMP error about a packet of ours goes to the host that sent it (RFC 5508, REQ-4). */
static __always_inline int error(struct __sk_buff *frame, const struct ip *ip) {
  struct icmp icmp;
  if (load(frame, ABOVE_IP, &icmp, sizeof icmp)) return TC_ACT_OK;
  if (icmp.type != UNREACHABLE && icmp.type != EXCEEDED) return TC_ACT_OK;
  if (icmp.about.version_and_length != 0x45 || icmp.about.protocol != IPPROTO_TCP) return TC_ACT_OK;
  struct incoming_flow flow = {icmp.about.destination, icmp.destination, icmp.source};
  struct connection *connection = living(&flow);
  if (!connection || icmp.about.source != OUTER) return TC_ACT_SHOT;
  __u32 address = connection->inside;
  __u16 port = connection->inside_port, quoted;
  replace_in_ip_checksum(frame, AT(ABOVE_IP, icmp, about.checksum), icmp.about.source, address, sizeof address);
  if (load(frame, AT(ABOVE_IP, icmp, about.checksum), &quoted, sizeof quoted)) return TC_ACT_SHOT;
  replace_in_checksum(frame, AT(ABOVE_IP, icmp, checksum), icmp.about.checksum, quoted, sizeof quoted);
  replace_in_checksum(frame, AT(ABOVE_IP, icmp, checksum), icmp.about.source, address, sizeof address);
  replace_in_checksum(frame, AT(ABOVE_IP, icmp, checksum), icmp.source, port, sizeof port);
  store(frame, AT(ABOVE_IP, icmp, about.source), &address, sizeof address, 0);
  store(frame, AT(ABOVE_IP, icmp, source), &port, sizeof port, 0);
  to_inside(frame, ip, address);
  return TC_ACT_OK;
}

static __always_inline int comes(struct __sk_buff *frame, struct ip *ip) {
  struct tcp tcp;
  if (ip->protocol != IPPROTO_TCP && ip->protocol != IPPROTO_ICMP) return TC_ACT_OK;
  if (ip->destination != OUTER || ip->ttl <= 1) return TC_ACT_SHOT;
  if (ip->protocol == IPPROTO_ICMP) return error(frame, ip);
  if (load(frame, ABOVE_IP, &tcp, sizeof tcp)) return TC_ACT_SHOT;
  struct incoming_flow flow = {ip->source, tcp.source, tcp.destination};
  struct connection *connection = living(&flow);
  if (!connection) return TC_ACT_SHOT;
  saw(connection, tcp.flags, BY_OUTSIDE);
  __u32 address = connection->inside;
  __u16 port = connection->inside_port;
  replace_in_checksum(frame, AT(ABOVE_IP, tcp, checksum), ip->destination, address, BPF_F_PSEUDO_HDR | sizeof address);
  replace_in_checksum(frame, AT(ABOVE_IP, tcp, checksum), tcp.destination, port, sizeof port);
  store(frame, AT(ABOVE_IP, tcp, destination), &port, sizeof port, 0);
  to_inside(frame, ip, address);
  return TC_ACT_OK;
}

SECTION("translation") int translate(struct __sk_buff *frame) {
  struct ip ip;
  if (frame->protocol != BIG_ENDIAN_16(ETH_P_IP)) return TC_ACT_OK;
  if (load(frame, IP, &ip, sizeof ip)) return TC_ACT_SHOT;
  if (ip.version_and_length != 0x45 || ip.fragment & BIG_ENDIAN_16(0x3fff)) return TC_ACT_SHOT;
  return frame->ifindex == WAN ? comes(frame, &ip) : leaves(frame, &ip);
}

/* The helpers are for programs with a licence like that of the kernel. */
char licence[] SECTION("license") = "Dual MIT/GPL";
