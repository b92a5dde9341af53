//! The system calls that a build cannot make, as a program for the kernel's filter (classic BPF).
//!
//! A build needs none of them, and each has been a way out of a sandbox: mounting, new user namespaces, tracing, keys,
//! kernel modules and programs, raw performance counters, another's terminal. They fail with `EPERM`. Sockets are of the
//! families that programs use: others lead past the network namespace, to the hypervisor for one (`AF_VSOCK`). `clone3` hides its
//! flags behind a pointer that a filter cannot read, and fails with `ENOSYS`: the C library then uses `clone`.

/// `seccomp_data`: the number of the call, the architecture, and the low halves of the first two arguments.
const NUMBER: u32 = 0;
const ARCHITECTURE: u32 = 4;
const ARGUMENTS: [u32; 2] = [16, 24];

const LOAD: u16 = 0x20;
const JUMP_EQUAL: u16 = 0x15;
const JUMP_AT_LEAST: u16 = 0x35;
const JUMP_ANY_BIT: u16 = 0x45;
const RETURN: u16 = 0x06;

const ALLOW: u32 = 0x7fff_0000;
const KILL: u32 = 0x8000_0000;
const ERROR: u32 = 0x0005_0000;
const EPERM: u32 = 1;
const ENOSYS: u32 = 38;
const EAFNOSUPPORT: u32 = 97;

/// `AF_UNIX`, `AF_INET`, `AF_INET6`, and `AF_NETLINK`, by which the C library asks for addresses.
const FAMILIES: [u32; 4] = [1, 2, 10, 16];

const NEW_NAMESPACES: u32 = 0x7e02_0000 | 0x80;
const TIOCSTI: u32 = 0x5412;
const TIOCLINUX: u32 = 0x541c;

/// One architecture's numbers.
struct Calls {
    architecture: u32,
    /// Numbers from here on belong to a second table of calls (x32), which nobody needs.
    second_table: Option<u32>,
    clone: u32,
    clone3: u32,
    unshare: u32,
    ioctl: u32,
    /// `socket` and `socketpair`.
    sockets: [u32; 2],
    denied: &'static [u32],
}

#[cfg(target_arch = "x86_64")]
const CALLS: Option<Calls> = Some(Calls {
    architecture: 0xc000_003e,
    second_table: Some(0x4000_0000),
    clone: 56,
    clone3: 435,
    unshare: 272,
    ioctl: 16,
    sockets: [41, 53],
    denied: &[
        101, // ptrace
        103, // syslog
        136, // ustat
        139, // sysfs
        153, // vhangup
        155, // pivot_root
        156, // _sysctl
        159, // adjtimex
        161, // chroot
        163, // acct
        164, // settimeofday
        165, // mount
        166, // umount2
        167, // swapon
        168, // swapoff
        169, // reboot
        170, // sethostname
        171, // setdomainname
        172, // iopl
        173, // ioperm
        174, 175, 176, 177, 178, // modules
        179, // quotactl
        180, // nfsservctl
        212, // lookup_dcookie
        227, // clock_settime
        237, 238, 239, // NUMA memory policy
        246, // kexec_load
        248, 249, 250, // keys
        256, // migrate_pages
        279, // move_pages
        298, // perf_event_open
        300, // fanotify_init
        303, 304, // file handles
        305, // clock_adjtime
        308, // setns
        310, 311, // another process's memory
        312, // kcmp
        313, // finit_module
        320, // kexec_file_load
        321, // bpf
        323, // userfaultfd
        425, 426, 427, // io_uring
        428, 429, 430, 431, 432, 433, // the new mount calls
        438, // pidfd_getfd
        440, // process_madvise
        442, // mount_setattr
        443, // quotactl_fd
    ],
});

#[cfg(target_arch = "aarch64")]
const CALLS: Option<Calls> = Some(Calls {
    architecture: 0xc000_00b7,
    second_table: None,
    clone: 220,
    clone3: 435,
    unshare: 97,
    ioctl: 29,
    sockets: [198, 199],
    denied: &[
        39, 40, 41,  // umount2, mount, pivot_root
        42,  // nfsservctl
        51,  // chroot
        58,  // vhangup
        60,  // quotactl
        89,  // acct
        104, // kexec_load
        105, 106, // modules
        112, // clock_settime
        116, // syslog
        117, // ptrace
        142, // reboot
        161, 162, // host and domain name
        170, 171, // settimeofday, adjtimex
        217, 218, 219, // keys
        224, 225, // swap
        235, 236, 237, 238, 239, // NUMA memory policy and pages
        241, // perf_event_open
        262, // fanotify_init
        264, 265, // file handles
        266, // clock_adjtime
        268, // setns
        270, 271, // another process's memory
        272, // kcmp
        273, // finit_module
        280, // bpf
        282, // userfaultfd
        294, // kexec_file_load
        425, 426, 427, // io_uring
        428, 429, 430, 431, 432, 433, // the new mount calls
        438, // pidfd_getfd
        440, // process_madvise
        442, // mount_setattr
        443, // quotactl_fd
    ],
});

#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
const CALLS: Option<Calls> = None;

/// The filter as the kernel takes it; none where this architecture's numbers are not known here.
pub(crate) fn filter() -> Option<Vec<u8>> {
    CALLS.as_ref().map(compile)
}

fn compile(calls: &Calls) -> Vec<u8> {
    let mut program = Program::default();
    program.add(LOAD, 0, 0, ARCHITECTURE);
    program.add(JUMP_EQUAL, 1, 0, calls.architecture);
    // Another architecture's calls have other numbers: what asks by those is not one of our programs.
    program.add(RETURN, 0, 0, KILL);
    program.add(LOAD, 0, 0, NUMBER);
    if let Some(first) = calls.second_table {
        program.add(JUMP_AT_LEAST, 0, 1, first);
        program.add(RETURN, 0, 0, ERROR | ENOSYS);
    }
    for number in calls.denied {
        program.refuse(*number, EPERM);
    }
    program.refuse(calls.clone3, ENOSYS);
    program.refuse_bits(calls.clone, NEW_NAMESPACES);
    program.refuse_bits(calls.unshare, NEW_NAMESPACES);
    program.refuse_values(calls.ioctl, [TIOCSTI, TIOCLINUX]);
    for number in calls.sockets {
        program.refuse_others(number, FAMILIES, EAFNOSUPPORT);
    }
    program.add(RETURN, 0, 0, ALLOW);
    program.0
}

#[derive(Default)]
struct Program(Vec<u8>);

impl Program {
    fn add(&mut self, code: u16, then: u8, otherwise: u8, value: u32) {
        self.0.extend(code.to_ne_bytes());
        self.0.extend([then, otherwise]);
        self.0.extend(value.to_ne_bytes());
    }

    fn refuse(&mut self, number: u32, error: u32) {
        self.add(JUMP_EQUAL, 0, 1, number);
        self.add(RETURN, 0, 0, ERROR | error);
    }

    /// Refuses the call if its first argument has any of these bits.
    fn refuse_bits(&mut self, number: u32, bits: u32) {
        self.add(JUMP_EQUAL, 0, 4, number);
        self.add(LOAD, 0, 0, ARGUMENTS[0]);
        self.add(JUMP_ANY_BIT, 0, 1, bits);
        self.add(RETURN, 0, 0, ERROR | EPERM);
        self.add(LOAD, 0, 0, NUMBER);
    }

    /// Refuses the call unless its first argument is one of these.
    fn refuse_others(&mut self, number: u32, values: [u32; 4], error: u32) {
        self.add(JUMP_EQUAL, 0, 7, number);
        self.add(LOAD, 0, 0, ARGUMENTS[0]);
        // Each jumps behind the refusal.
        for (behind, value) in [4, 3, 2, 1].into_iter().zip(values) {
            self.add(JUMP_EQUAL, behind, 0, value);
        }
        self.add(RETURN, 0, 0, ERROR | error);
        self.add(LOAD, 0, 0, NUMBER);
    }

    /// Refuses the call if its second argument is one of these.
    fn refuse_values(&mut self, number: u32, values: [u32; 2]) {
        self.add(JUMP_EQUAL, 0, 5, number);
        self.add(LOAD, 0, 0, ARGUMENTS[1]);
        self.add(JUMP_EQUAL, 1, 0, values[0]);
        self.add(JUMP_EQUAL, 0, 1, values[1]);
        self.add(RETURN, 0, 0, ERROR | EPERM);
        self.add(LOAD, 0, 0, NUMBER);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_filter_is_whole_instructions_and_ends_by_allowing() {
        let filter = filter().expect("known here");
        assert_eq!(filter.len() % 8, 0);
        assert!(filter.len() / 8 < 4096, "the kernel takes no longer ones");
        assert!(filter.ends_with(&ALLOW.to_ne_bytes()));
    }
}
