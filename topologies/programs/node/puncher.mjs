// A plain pair in Node: both dial each other at an agreed moment, each from the port that the other was told.
//
// usage: puncher.mjs LOCAL_IP LOCAL_PORT PEER_IP PEER_PORT START_IN_MS
//
// Exits 0 once a line has gone both ways over the direct connection, and 1 when there was none.

import net from 'node:net'

const [localAddress, localPort, host, port, startInMs] = process.argv.slice(2)
const PATIENCE_MS = 2000

setTimeout(() => {
  const end = setTimeout(() => process.exit(1), PATIENCE_MS)
  const dial = () => {
    const stream = net.connect({ host, port: Number(port), localAddress, localPort: Number(localPort) })
    stream.on('connect', () => stream.write('hello\n'))
    let said = ''
    stream.on('data', (data) => {
      said += data
      if (said === 'hello\n') {
        clearTimeout(end)
        stream.end(() => process.exit(0))
      }
    })
    // A refused dial is made again; every other error is the end.
    stream.on('error', (why) => {
      if (['ECONNREFUSED', 'ECONNRESET', 'EHOSTUNREACH', 'EADDRINUSE'].includes(why.code)) {
        setTimeout(dial, 1)
      } else {
        console.error(`puncher.mjs: ${why.message}`)
        process.exit(1)
      }
    })
  }
  dial()
}, Number(startInMs))
