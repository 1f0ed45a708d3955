use proptest::prelude::*;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};

use super::*;
use crate::stream::{encrypted_ends, key_pair as keys};

fn ends(buffer: usize) -> (Encrypted<DuplexStream>, Encrypted<DuplexStream>) {
    let (left, right) = duplex(buffer);
    encrypted_ends(left, right)
}

fn bytes(count: u32) -> Vec<u8> {
    (0..count).map(|number| (number % 251) as u8).collect()
}

#[tokio::test]
async fn what_goes_in_comes_out_and_ends() {
    let (mut a, mut b) = ends(1000);
    let sent = bytes(300_000);
    let copy = sent.clone();
    let writing = tokio::spawn(async move {
        a.write_all(&copy).await.unwrap();
        a.shutdown().await.unwrap();
        a
    });
    let mut received = Vec::new();
    b.read_to_end(&mut received).await.unwrap();
    assert!(received == sent);
    b.write_all(b"thanks").await.unwrap();
    b.shutdown().await.unwrap();
    let mut thanks = String::new();
    writing.await.unwrap().read_to_string(&mut thanks).await.unwrap();
    assert_eq!(thanks, "thanks");
}

/// b answers what it has heard all of; nobody flushes.
async fn answer(mut b: Encrypted<DuplexStream>, length: usize) -> Encrypted<DuplexStream> {
    let mut heard = vec![0; length];
    b.read_exact(&mut heard).await.unwrap();
    b.write_all(&heard[..10]).await.unwrap();
    b
}

#[tokio::test]
async fn who_reads_the_answer_need_not_flush_the_question() {
    let (mut a, b) = ends(1000);
    let question = bytes(4 * CHUNK as u32);
    let answering = tokio::spawn(answer(b, question.len()));
    a.write_all(&question).await.unwrap();
    assert!(a.sent < a.filled, "the last part waits here");
    let mut heard = [0; 10];
    a.read_exact(&mut heard).await.unwrap();
    assert_eq!(heard, question[..10]);
    drop(answering.await.unwrap());
}

/// The reader's task waits all the while, and is what the stream below would wake if it remembered the last waker only.
#[tokio::test]
async fn a_reader_that_waits_or_gives_up_never_leaves_the_writer_asleep() {
    for gives_up in [false, true] {
        let (a, b) = ends(1000);
        let (mut from_b, mut to_b) = tokio::io::split(a);
        let question = bytes(3 * OUTGOING as u32);
        let answering = answer(b, question.len());
        let writing = async {
            to_b.write_all(&question).await.unwrap();
            // The last part leaves even if nobody reads.
            to_b.flush().await.unwrap();
        };
        let reading = async {
            let mut heard = [0; 10];
            let read = from_b.read_exact(&mut heard);
            if gives_up {
                tokio::pin!(read);
                // Once, after the writer has filled all there is.
                tokio::task::yield_now().await;
                assert!(polled_once(read.as_mut()).await.is_pending());
                None
            } else {
                read.await.unwrap();
                Some(heard)
            }
        };
        let (_, heard, mut b) = tokio::join!(writing, reading, tokio::spawn(answering));
        assert!(heard.is_none_or(|heard| heard == question[..10]));
        b.as_mut().unwrap().flush().await.unwrap();
    }
}

/// Polls once.
async fn polled_once<F: Future + Unpin>(mut future: F) -> Poll<F::Output> {
    std::future::poll_fn(|context| Poll::Ready(Pin::new(&mut future).poll(context))).await
}

#[tokio::test]
async fn parts_are_written_together() {
    let (mut a, mut b) = ends(1 << 20);
    let parts = [bytes(10), bytes(OUTGOING as u32), bytes(1)];
    let slices = parts.each_ref().map(|part| IoSlice::new(part));
    let count = a.write_vectored(&slices).await.unwrap();
    assert!(count > 10 && count < parts.concat().len(), "{count}: as much as there is room for");
    let mut heard = vec![0; count];
    b.read_exact(&mut heard).await.unwrap();
    assert!(heard == parts.concat()[..count]);
}

/// What a says, as it is on the wire, with this done to it; what b makes of it.
async fn meddled(meddle: impl FnOnce(&mut Vec<u8>)) -> io::Result<usize> {
    let ((left, mut at_a), (mut at_b, right), (a, b)) = (duplex(1000), duplex(1000), keys());
    let (mut a, mut b) = (Encrypted::new(left, a), Encrypted::new(right, b));
    a.write_all(b"pay ten").await?;
    a.flush().await?;
    let mut said = vec![0; 2 + 7 + TAG_BYTES];
    at_a.read_exact(&mut said).await?;
    meddle(&mut said);
    at_b.write_all(&said).await?;
    drop(at_b);
    b.read_to_end(&mut Vec::new()).await
}

#[tokio::test]
async fn what_was_altered_cut_off_or_said_twice_is_refused() {
    use io::ErrorKind::{InvalidData, UnexpectedEof};
    assert_eq!(meddled(|said| said[5] ^= 1).await.unwrap_err().kind(), InvalidData, "altered");
    assert_eq!(meddled(|_| ()).await.unwrap_err().kind(), UnexpectedEof, "no end was said");
    assert_eq!(meddled(|said| said.truncate(9)).await.unwrap_err().kind(), UnexpectedEof, "cut off");
    let twice = meddled(|said| said.extend(said.clone())).await;
    assert_eq!(twice.unwrap_err().kind(), InvalidData, "said twice");
    let short = meddled(|said| *said = vec![0, 3, 1, 2, 3]).await;
    assert_eq!(short.unwrap_err().kind(), InvalidData, "too short for a tag");
}

/// Reads into this much room, after the peer said something good and then something altered.
#[tokio::test]
async fn a_refusal_lasts_and_loses_nothing_that_came_before() {
    for room in [1, 7, 100] {
        let ((left, mut at_a), (mut at_b, right), (a, b)) = (duplex(1000), duplex(1000), keys());
        let (mut a, mut b) = (Encrypted::new(left, a), Encrypted::new(right, b));
        a.write_all(b"good").await.unwrap();
        a.write_all(b"altered").await.unwrap();
        let mut said = vec![0; 2 * (HEAD_BYTES + TAG_BYTES) + 11];
        at_a.read_exact(&mut said).await.unwrap();
        *said.last_mut().unwrap() ^= 1;
        at_b.write_all(&said).await.unwrap();
        let (mut heard, mut part) = (Vec::<u8>::new(), vec![0; room]);
        while heard.len() < 4 {
            let count = b.read(&mut part).await.unwrap();
            heard.extend(&part[..count]);
        }
        assert_eq!(heard, b"good");
        for _ in 0..3 {
            assert_eq!(b.read(&mut part).await.unwrap_err().kind(), io::ErrorKind::InvalidData, "{room}");
        }
    }
}

#[tokio::test]
async fn one_read_takes_all_messages_that_came_and_fit() {
    let (mut a, mut b) = ends(1 << 20);
    for part in bytes(30).chunks(10) {
        a.write_all(part).await.unwrap();
    }
    let mut heard = [0; 25];
    assert_eq!(b.read(&mut heard).await.unwrap(), 20, "the third does not fit");
    assert_eq!(b.read(&mut heard[20..]).await.unwrap(), 5);
    assert_eq!(heard, bytes(25)[..]);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn any_pieces_make_the_same_stream(
        pieces in proptest::collection::vec(0usize..70_000, 1..6),
        reads in proptest::collection::vec(1usize..70_000, 1..6),
        buffer in 1usize..200_000,
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(async move {
            let (mut a, mut b) = ends(buffer);
            let sent = bytes(pieces.iter().sum::<usize>() as u32);
            let copy = sent.clone();
            let writing = tokio::spawn(async move {
                let mut rest = &copy[..];
                for piece in pieces {
                    let (now, later) = rest.split_at(piece);
                    a.write_all(now).await.unwrap();
                    rest = later;
                }
                a.shutdown().await.unwrap();
                a
            });
            let mut received: Vec<u8> = Vec::new();
            for length in reads.iter().cycle() {
                let mut part = vec![0; *length];
                let count = b.read(&mut part).await.unwrap();
                if count == 0 {
                    break;
                }
                received.extend(&part[..count]);
            }
            assert!(received == sent);
            drop(writing.await.unwrap());
        });
    }

    #[test]
    fn no_bytes_make_the_reader_panic_or_are_taken_for_the_peers(
        noise in proptest::collection::vec(any::<u8>(), 1..600)
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(async move {
            let ((mut wire, right), (_, keys)) = (duplex(1000), keys());
            wire.write_all(&noise).await.unwrap();
            drop(wire);
            let read = Encrypted::new(right, keys).read_to_end(&mut Vec::new()).await;
            assert!(read.is_err());
        });
    }
}
