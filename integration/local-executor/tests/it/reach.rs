//! What a hostile build tries beside files and processes: sockets, the kernel, its own socket, and what could be taken
//! from whoever looks after it.

use std::fmt::Write as _;
use std::net::{TcpListener, UdpSocket};
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::{SocketAddr, UnixListener};

use signalbox_adapters::executor::conformance::Script;
use signalbox_contract::Verdict;

use crate::stage::Stage;

/// Runs a script that must pass, and gives what it said.
async fn said(stage: &Stage, script: &str) -> String {
    let (verdict, reason, log) = stage.run(Script::new(script)).await;
    assert_eq!(verdict, Verdict::Success, "{reason}\n{log}");
    log
}

// Threat 69: a build that means it reaches nobody, whichever way it knocks.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_build_reaches_no_socket_but_its_own() {
    let stage = Stage::with("").await;
    let named = format!("signalbox-test-{}", std::process::id());
    let hidden = UnixListener::bind_addr(&SocketAddr::from_abstract_name(&named).expect("a name")).expect("a socket without a file");
    let path = stage.folder.path().join("outside.sock");
    let filed = UnixListener::bind(&path).expect("a socket");
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o777)).expect("open to all");
    let (tcp, udp) = (TcpListener::bind("127.0.0.1:0").expect("a port"), UdpSocket::bind("127.0.0.1:0").expect("a port"));
    let script = format!(
        r#"cat > knock.pl <<'PERL'
use Socket;
sub knock {{ my ($what, $family, $type, $to) = @_; socket(my $s, $family, $type, 0) or return;
    if ($type == SOCK_DGRAM) {{ send($s, "hello", 0, $to); }} elsif (connect($s, $to)) {{ print "reached $what\n"; }} }}
my $home = inet_aton("127.0.0.1");
knock("a socket without a file", AF_UNIX, SOCK_STREAM, pack("Sa*", AF_UNIX, "\0{named}"));
knock("a socket in a folder", AF_UNIX, SOCK_STREAM, pack_sockaddr_un("{path}"));
knock("a port", AF_INET, SOCK_STREAM, pack_sockaddr_in({tcp}, $home));
knock("a datagram", AF_INET, SOCK_DGRAM, pack_sockaddr_in({udp}, $home));
knock("metadata", AF_INET, SOCK_STREAM, pack_sockaddr_in(80, inet_aton("169.254.169.254")));
# What is not for programs: raw and packet sockets, another machine's hypervisor.
for ([2, 3, 1], [17, 3, 768], [17, 2, 768]) {{ my ($f, $t, $p) = @$_; print "makes a raw socket\n" if socket(my $s, $f, $t, $p); }}
# Families that lead past the network: the hypervisor, the kernel's ciphers, a bus.
for my $f (3 .. 9, 11 .. 15, 17 .. 60) {{ my $s; print "reached family $f\n" if socket($s, $f, SOCK_STREAM, 0) || socket($s, $f, SOCK_DGRAM, 0) || socket($s, $f, 5, 0); }}
print "talks\n" if socketpair(my $a, my $b, AF_UNIX, SOCK_STREAM, 0) && socket(my $n, 16, 3, 0) && socket(my $i, 10, SOCK_STREAM, 0);
PERL
command -v perl > /dev/null || echo reached nothing: no perl
perl knock.pl
getent hosts localhost.invalid && echo reached a resolver
echo asked"#,
        path = path.display(),
        tcp = tcp.local_addr().expect("an address").port(),
        udp = udp.local_addr().expect("an address").port(),
    );
    let log = said(&stage, &script).await;
    assert!(log.contains("\nasked\n") && log.contains("talks") && !log.contains("reached") && !log.contains("makes a raw socket"), "{log}");
    let nobody = |error: std::io::Error| assert_eq!(error.kind(), std::io::ErrorKind::WouldBlock);
    for listener in [hidden, filed] {
        listener.set_nonblocking(true).expect("a setting");
        nobody(listener.accept().expect_err("nobody came"));
    }
    tcp.set_nonblocking(true).expect("a setting");
    nobody(tcp.accept().expect_err("nobody came"));
    udp.set_nonblocking(true).expect("a setting");
    nobody(udp.recv(&mut [0; 8]).expect_err("nothing came"));
    stage.close().await;
}

/// Calls that have been ways out of sandboxes, by their numbers on this architecture.
#[cfg(target_arch = "x86_64")]
const CALLS: [(&str, u32); 16] = [
    ("ptrace", 101),
    ("mount", 165),
    ("kexec_load", 246),
    ("add_key", 248),
    ("keyctl", 250),
    ("unshare", 272),
    ("perf_event_open", 298),
    ("open_by_handle_at", 304),
    ("setns", 308),
    ("process_vm_readv", 310),
    ("bpf", 321),
    ("userfaultfd", 323),
    ("io_uring_setup", 425),
    ("fsopen", 430),
    ("clone3", 435),
    ("mount_setattr", 442),
];

#[cfg(target_arch = "x86_64")]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_kernel_is_not_asked_for_what_builds_do_not_need() {
    let stage = Stage::with("").await;
    let mut script = "cat > ask.pl <<'PERL'\n".to_owned();
    for (name, number) in CALLS {
        // A namespace of its own is what `unshare` is asked for; the others get nothing that makes sense.
        let first = if name == "unshare" { "0x10000000" } else { "0" };
        let _ = writeln!(script, "$! = 0; syscall({number}, {first}, 0, 0, 0, 0, 0); print \"{name} \", $! + 0, \"\\n\";");
    }
    // Through the other table of calls, and typing into the terminal of whoever looks on.
    script.push_str("$! = 0; syscall(0x40000000 + 39); print \"x32 \", $! + 0, \"\\n\";\n");
    script.push_str("$! = 0; my $c = 'x'; ioctl(STDIN, 0x5412, $c); print \"typing \", $! + 0, \"\\n\";\n");
    script.push_str("PERL\nperl ask.pl\necho asked");
    let log = said(&stage, &script).await;
    assert!(log.contains("\nasked\n"), "{log}");
    for (name, _) in CALLS {
        // EPERM, or where a program is to use something older, ENOSYS: never EINVAL or EFAULT, by which the call itself answers.
        let refused = log.contains(&format!("\n{name} 1\n")) || log.contains(&format!("\n{name} 38\n"));
        assert!(refused, "{name}: {log}");
    }
    for name in ["x32", "typing"] {
        assert!(!log.contains(&format!("\n{name} 0\n")), "{name}: {log}");
    }
    stage.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_builds_socket_takes_artifacts_of_its_attempt_and_nothing_else() {
    let stage = Stage::with("").await;
    let script = r#"ask() { curl -s -m 10 -o /dev/null -w '%{http_code} ' --unix-socket "$SIGNALBOX_SOCKET" "$@" || true; }
echo x > made
echo others: $(ask -T made http://x/artifacts/../grants/x/made --path-as-is; ask -T made http://x/artifacts/%2e%2e%2fmade; ask -T made http://x/grants/x/made)
echo reads: $(ask http://x/artifacts/made; ask http://x/blobs/made; ask http://x/; ask -X DELETE http://x/artifacts/made; ask -X POST -d x http://x/grants)
# Connections that are held open keep nobody out for long.
for n in 1 2 3 4 5 6 7 8 9 10 11 12; do (sleep 20 | curl -s -m 30 --unix-socket "$SIGNALBOX_SOCKET" telnet://x > /dev/null 2>&1 &) ; done
sleep 0.5
echo mine: $(ask -m 30 -T made http://x/artifacts/made)"#;
    let order = stage.order_of(Script::new(script).keeps("made", "made"));
    let build = stage.start(&order).await;
    let (verdict, reason) = build.ended().await;
    let log = build.log().await;
    assert_eq!(verdict, Verdict::Success, "{reason}\n{log}");
    let codes = |what: &str| -> Vec<u16> {
        let rest = log.split(&format!("\n{what}: ")).nth(1).unwrap_or_else(|| panic!("{what}: {log}"));
        rest.lines().next().unwrap_or_default().split_whitespace().map(|code| code.parse().expect("a status")).collect()
    };
    for what in ["others", "reads"] {
        assert!(codes(what).iter().all(|code| (400..500).contains(code)), "{what}: {log}");
    }
    assert_eq!(codes("mine"), [200], "{log}");
    assert_eq!(stage.grant(&order.key).len(), 1);
    stage.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_build_leaves_for_whoever_clears_up_harms_nobody() {
    let stage = Stage::with("").await;
    let outside = stage.folder.path().join("precious");
    std::fs::create_dir(&outside).expect("a folder");
    std::fs::write(outside.join("file"), "precious").expect("written");
    std::fs::set_permissions(&outside, std::fs::Permissions::from_mode(0o777)).expect("open to all");
    let script = format!(
        "ln -s {outside} /build/link; ln -s {outside}/file /build/file; ln -s / /build/root\n\
         mkfifo /build/pipe; mkdir -p /build/closed/inner; chmod 000 /build/closed/inner; chmod 000 /build/closed\n\
         perl -e 'for (1..200) {{ open(F, \">\", \"/build/\" . chr(1 + $_ % 31) . $_ . \"\\x{{7f}}\"); }}'\n\
         name=$(printf '%0255d' 0); : > \"/build/$name\"; : > '/build/-rf'; : > '/build/ *'\n\
         chmod 7777 /build 2>/dev/null || true\n\
         mkdir -p .git/hooks; printf '#!/bin/sh\\ntouch {outside}/ran\\n' > .git/hooks/post-checkout; chmod +x .git/hooks/post-checkout\n\
         git config core.fsmonitor 'touch {outside}/ran' 2>/dev/null || true\necho left",
        outside = outside.display()
    );
    let log = said(&stage, &script).await;
    assert!(log.contains("\nleft\n"), "{log}");
    // The next one begins clean.
    let log = said(&stage, "ls -A /build | grep -c . ; ls -A /build").await;
    for left in ["link", "pipe", "closed", "-rf"] {
        assert!(!log.lines().any(|line| line == left), "{left}: {log}");
    }
    stage.nothing_is_left();
    assert_eq!(std::fs::read_to_string(outside.join("file")).expect("still there"), "precious");
    assert_eq!(std::fs::read_dir(&outside).expect("readable").count(), 1, "nothing was run outside");
    stage.close().await;
}
