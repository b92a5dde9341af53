//! A connection as bytes: what hyper does not show of a request's head is seen here, and a client that takes nothing of
//! its answer is not waited for.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep};

use super::slots::Slot;
use super::unread::Refusing;

/// The longest line that is kept while it arrives in pieces; hyper refuses heads well before.
const MAX_LINE: usize = 256 * 1024;

/// A fault of a head that hyper repairs silently instead of refusing it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum HeadFault {
    /// `Content-Length` together with `Transfer-Encoding`.
    TwoLengths,
    /// `Content-Length` twice, even if both say the same.
    RepeatedLength,
    /// A line that ends without a carriage return.
    BareLineFeed,
    /// A `#` in the target: what is behind it would be cut off.
    Fragment,
}

impl HeadFault {
    /// The header at fault, and what is wrong with it.
    pub(super) const fn words(self) -> (&'static str, &'static str) {
        match self {
            Self::TwoLengths => ("content-length", "must not stand beside transfer-encoding"),
            Self::RepeatedLength => ("content-length", "stands there more than once"),
            Self::BareLineFeed => ("head", "has a line that does not end in CR LF"),
            Self::Fragment => ("target", "must not hold a #"),
        }
    }
}

/// The first fault of a connection, and the number of the request that has it, counted from 0.
#[derive(Debug, Clone, Default)]
pub(super) struct Faults(Arc<OnceLock<(u64, HeadFault)>>);

impl Faults {
    /// The fault of the request with this number.
    pub(super) fn of(&self, request: u64) -> Option<HeadFault> {
        self.0.get().filter(|(number, _)| *number == request).map(|(_, fault)| *fault)
    }
}

/// Reads along: heads line by line, bodies by their length. It knows no more of HTTP than where a head ends, and stops
/// reading along where it is not sure; after a chunked body the connection is closed, so that no head follows one.
#[derive(Debug, Default)]
pub(super) struct Watch {
    faults: Faults,
    number: u64,
    at: Place,
    line: Vec<u8>,
    head: Head,
}

#[derive(Debug, Default, PartialEq)]
enum Place {
    #[default]
    Head,
    Body(u64),
    Blind,
}

/// What was seen of the present head.
#[derive(Debug, Default)]
struct Head {
    begun: bool,
    lengths: usize,
    length: Option<u64>,
    encoded: bool,
    bare: bool,
    fragment: bool,
}

impl Watch {
    /// A watch on an HTTP/1 connection.
    pub(super) fn new(faults: Faults) -> Self {
        Self { faults, ..Self::default() }
    }

    /// Takes what was read.
    pub(super) fn see(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            match self.at {
                Place::Blind => return,
                Place::Body(left) => {
                    let skipped = usize::try_from(left).map_or(bytes.len(), |left| left.min(bytes.len()));
                    bytes = &bytes[skipped..];
                    let left = left - skipped as u64;
                    self.at = if left == 0 { Place::Head } else { Place::Body(left) };
                }
                Place::Head => {
                    let Some(end) = bytes.iter().position(|byte| *byte == b'\n') else {
                        self.line.extend_from_slice(bytes);
                        if self.line.len() > MAX_LINE {
                            self.at = Place::Blind;
                        }
                        return;
                    };
                    let (line, rest) = (&bytes[..end], &bytes[end + 1..]);
                    bytes = rest;
                    if self.line.is_empty() {
                        self.see_line(line);
                    } else {
                        let mut whole = std::mem::take(&mut self.line);
                        whole.extend_from_slice(line);
                        self.see_line(&whole);
                        whole.clear();
                        self.line = whole;
                    }
                }
            }
        }
    }

    fn see_line(&mut self, line: &[u8]) {
        let (line, bare) = line.strip_suffix(b"\r").map_or((line, true), |line| (line, false));
        if line.is_empty() && !self.head.begun {
            // Empty lines before a head are allowed, and skipped by hyper too.
            return;
        }
        self.head.bare |= bare;
        if line.is_empty() {
            return self.end_head();
        }
        if !self.head.begun {
            // The request line itself.
            self.head.begun = true;
            self.head.fragment = line.contains(&b'#');
            return;
        }
        let Some(colon) = line.iter().position(|byte| *byte == b':') else {
            return;
        };
        let (name, value) = (&line[..colon], line[colon + 1..].trim_ascii());
        if name.eq_ignore_ascii_case(b"content-length") {
            self.head.lengths += 1;
            self.head.length = std::str::from_utf8(value).ok().and_then(|value| value.parse().ok());
        } else if name.eq_ignore_ascii_case(b"transfer-encoding") {
            self.head.encoded = true;
        }
    }

    fn end_head(&mut self) {
        let head = std::mem::take(&mut self.head);
        let fault = if head.encoded && head.lengths > 0 {
            Some(HeadFault::TwoLengths)
        } else if head.lengths > 1 {
            Some(HeadFault::RepeatedLength)
        } else if head.bare {
            Some(HeadFault::BareLineFeed)
        } else if head.fragment {
            Some(HeadFault::Fragment)
        } else {
            None
        };
        if let Some(fault) = fault {
            // The connection ends with the refusal, so the first fault is the only one.
            let _ = self.faults.0.set((self.number, fault));
        }
        self.number += 1;
        self.at = match head.length {
            _ if fault.is_some() || head.encoded => Place::Blind,
            Some(0) => Place::Head,
            Some(length) => Place::Body(length),
            // A length that is no number is refused by hyper.
            None if head.lengths > 0 => Place::Blind,
            None => Place::Head,
        };
    }
}

/// A stream whose reads are watched, and whose writes may not stand still.
pub(super) struct Wire<S> {
    stream: S,
    watch: Option<Watch>,
    refusing: Option<Refusing>,
    slot: Arc<Slot>,
    limit: Duration,
    alarm: Option<Pin<Box<Sleep>>>,
    stalled: bool,
}

impl<S> Wire<S> {
    /// Wraps a stream. A write that makes no progress for `limit` fails.
    pub(super) const fn new(stream: S, slot: Arc<Slot>, limit: Duration) -> Self {
        Self { stream, watch: None, refusing: None, slot, limit, alarm: None, stalled: false }
    }

    /// The same for HTTP/1, whose heads are watched and whose refusals are put in words.
    pub(super) fn watched(self, watch: Watch, refusing: Refusing) -> Self {
        Self { watch: Some(watch), refusing: Some(refusing), ..self }
    }

    /// Notes how a write went, and fails it when it has stood still for too long.
    fn progress<T>(&mut self, cx: &mut Context<'_>, result: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if result.is_ready() {
            if self.stalled {
                self.slot.moved();
            }
            self.stalled = false;
            return result;
        }
        self.slot.unsent(true);
        if !self.stalled {
            self.stalled = true;
            let when = Instant::now() + self.limit;
            match &mut self.alarm {
                Some(alarm) => alarm.as_mut().reset(when),
                None => self.alarm = Some(Box::pin(tokio::time::sleep_until(when))),
            }
        }
        if let Some(alarm) = &mut self.alarm {
            ready!(alarm.as_mut().poll(cx));
        }
        Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, "the client takes nothing of its answer")))
    }
}

impl<S: AsyncWrite + Unpin> Wire<S> {
    /// Whether this is a refusal of hyper's own, in whose place another one is written.
    fn refuses(&mut self, slices: &[IoSlice<'_>]) -> bool {
        let foreign = self.refusing.as_mut().filter(|refusing| refusing.foreign());
        foreign.is_some_and(|refusing| refusing.replaces(&slices.iter().flat_map(|slice| slice.iter().copied()).collect::<Vec<u8>>()))
    }

    /// Writes what stands in the place of `length` bytes of hyper's; they count as written when all of it is.
    fn poll_refusal(&mut self, cx: &mut Context<'_>, length: usize) -> Poll<io::Result<usize>> {
        while let Some(refusing) = &mut self.refusing {
            let result = Pin::new(&mut self.stream).poll_write(cx, refusing.left());
            let count = ready!(self.progress(cx, result))?;
            self.slot.moved();
            if count == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            if self.refusing.as_mut().is_none_or(|refusing| refusing.wrote(count)) {
                break;
            }
        }
        Poll::Ready(Ok(length))
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Wire<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        let before = buffer.filled().len();
        ready!(Pin::new(&mut this.stream).poll_read(cx, buffer))?;
        if let Some(watch) = &mut this.watch {
            watch.see(&buffer.filled()[before..]);
        }
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Wire<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        if self.refuses(&[IoSlice::new(bytes)]) {
            return self.poll_refusal(cx, bytes.len());
        }
        let result = Pin::new(&mut self.stream).poll_write(cx, bytes);
        if result.is_ready() {
            self.slot.moved();
        }
        self.progress(cx, result)
    }

    fn poll_write_vectored(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[IoSlice<'_>]) -> Poll<io::Result<usize>> {
        if self.refuses(bytes) {
            return self.poll_refusal(cx, bytes.iter().map(|slice| slice.len()).sum());
        }
        let result = Pin::new(&mut self.stream).poll_write_vectored(cx, bytes);
        if result.is_ready() {
            self.slot.moved();
        }
        self.progress(cx, result)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let result = Pin::new(&mut self.stream).poll_flush(cx);
        let result = self.progress(cx, result);
        if result.is_ready() {
            self.slot.unsent(false);
            let at_work = self.slot.at_work();
            if let Some(refusing) = &mut self.refusing {
                refusing.flushed(at_work);
            }
        }
        result
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let result = Pin::new(&mut self.stream).poll_shutdown(cx);
        self.progress(cx, result)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fault(pieces: &[&[u8]]) -> Option<(u64, HeadFault)> {
        let faults = Faults::default();
        let mut watch = Watch::new(faults.clone());
        for piece in pieces {
            watch.see(piece);
        }
        faults.0.get().copied()
    }

    // Threat 54.
    #[test]
    fn a_fault_is_seen_wherever_the_bytes_are_cut() {
        let honest = "\r\nPOST / HTTP/1.1\r\nHost: a\r\nContent-Length: 6\r\n\r\na\nb\n\nc";
        for (second, expected) in [
            ("GET / HTTP/1.1\r\nHost: a\r\n\r\n", None),
            ("GET / HTTP/1.1\r\nHost: a\nX: y\r\n\r\n", Some((1, HeadFault::BareLineFeed))),
            ("PUT / HTTP/1.1\r\ncontent-length:1\r\nContent-Length: 1\r\n\r\n", Some((1, HeadFault::RepeatedLength))),
            ("PUT / HTTP/1.1\r\nTransfer-Encoding: x\r\nContent-Length: 1\r\n\r\n", Some((1, HeadFault::TwoLengths))),
        ] {
            let bytes = format!("{honest}{second}");
            for cut in 0..bytes.len() {
                let (head, tail) = bytes.as_bytes().split_at(cut);
                assert_eq!(fault(&[head, tail]), expected, "cut at {cut} of {bytes:?}");
            }
            let single: Vec<&[u8]> = bytes.as_bytes().chunks(1).collect();
            assert_eq!(fault(&single), expected, "byte by byte: {bytes:?}");
        }
    }

    #[test]
    fn a_line_without_end_is_not_kept_for_ever() {
        let mut watch = Watch::new(Faults::default());
        for _ in 0..100 {
            watch.see(&[b'x'; 16_384]);
        }
        assert!(watch.line.len() <= MAX_LINE + 16_384);
    }
}
