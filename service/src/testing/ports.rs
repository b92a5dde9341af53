//! Ports for servers that can only be told a number.

use std::net::{Ipv4Addr, SocketAddr, TcpListener, UdpSocket};
use std::sync::atomic::{AtomicU16, Ordering};
use std::sync::{Mutex, PoisonError};

/// The first port that is given out.
const FIRST: u16 = 20_000;

/// How many there are: all below the range from which the system takes ports for outgoing connections.
const COUNT: u16 = 12_000;

/// The ports that this process has given out. Whoever is to listen at one by TCP still can; no other test's process is
/// given it for as long as this one lives.
static RESERVED: Mutex<Vec<UdpSocket>> = Mutex::new(Vec::new());

/// A port on loopback that is free, and that no other process which asks here is given too: so it is still free when the
/// service that it is for starts, and when one that was killed comes back to it. A server that can be handed a listener
/// should be handed one, bound to port 0, in its place.
///
/// # Panics
/// When none is free.
pub fn free_port() -> SocketAddr {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    // Several test processes may search at once; each begins elsewhere, so that they seldom meet.
    let start = u16::try_from(std::process::id() % u32::from(COUNT)).unwrap_or_default();
    for _ in 0..COUNT {
        let offset = (start + NEXT.fetch_add(1, Ordering::Relaxed) % COUNT) % COUNT;
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, FIRST + offset));
        let Ok(reservation) = UdpSocket::bind(address) else { continue };
        if TcpListener::bind(address).is_ok() {
            RESERVED.lock().unwrap_or_else(PoisonError::into_inner).push(reservation);
            return address;
        }
    }
    panic!("no port is free");
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn a_port_is_given_out_once_and_can_be_listened_at_again_and_again() {
        let given: BTreeSet<SocketAddr> = (0..50).map(|_| free_port()).collect();
        assert_eq!(given.len(), 50);
        for address in &given {
            // What another process would do to be given it.
            assert!(UdpSocket::bind(address).is_err(), "{address} is not reserved");
            for _ in 0..2 {
                drop(TcpListener::bind(address).expect("free"));
            }
        }
    }
}
