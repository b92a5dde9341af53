//! What `strace` wrote down, read as calls.
//!
//! Everything that a program names or writes is in hexadecimal (`-xx`), so that no byte of it can be taken for `strace`'s own
//! words.

use std::collections::HashMap;

/// Why what `strace` wrote cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("line {line} of the recording cannot be read: {text}")]
pub struct TraceError {
    line: usize,
    text: String,
}

/// One call of the kernel that came to its end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Call {
    /// The thread that called.
    pub thread: u32,
    /// The call's name.
    pub name: String,
    /// Its arguments, as `strace` shows them.
    pub arguments: Vec<String>,
    /// What it answered: less than zero where it failed.
    pub result: i64,
    /// The file that it answered, if it answered one.
    pub opened: Option<Place>,
    /// The line in which it began.
    pub begun: usize,
    /// The line in which it ended.
    pub ended: usize,
}

/// What an open file is called.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// The descriptor's number; less than zero for the working folder.
    pub number: i64,
    /// Its path, or the kernel's name for what has none.
    pub path: Vec<u8>,
    /// Whether no name leads to it any more.
    pub deleted: bool,
}

impl Call {
    /// The argument at a position, nothing where there is none.
    pub fn argument(&self, index: usize) -> &str {
        self.arguments.get(index).map_or("", String::as_str)
    }

    /// The open file that an argument names.
    pub fn place(&self, index: usize) -> Option<Place> {
        place(self.argument(index))
    }

    /// The number that an argument is.
    pub fn number(&self, index: usize) -> Option<u64> {
        let text = self.argument(index);
        text.strip_prefix("0x").map_or_else(|| text.parse().ok(), |hex| u64::from_str_radix(hex, 16).ok())
    }

    /// All bytes that an argument holds: those of a string, or of all parts of a vector.
    /// Nothing where `strace` did not show all of them.
    pub fn bytes(&self, index: usize) -> Option<Vec<u8>> {
        quoted(self.argument(index))
    }

    /// All bytes that any argument holds.
    pub fn all_bytes(&self) -> Vec<u8> {
        self.arguments.iter().filter_map(|argument| quoted(argument)).flatten().collect()
    }
}

/// Reads what `strace -f -y -xx` wrote. The calls come in the order in which they ended.
///
/// # Errors
/// When a line is none of `strace`'s.
pub fn read(text: &str) -> Result<Vec<Call>, TraceError> {
    let mut begun: HashMap<u32, (usize, &str)> = HashMap::new();
    let mut calls = Vec::new();
    for (line, text) in text.lines().enumerate() {
        let wrong = || TraceError { line: line + 1, text: text.chars().take(200).collect() };
        let (thread, rest) = text.split_once(' ').ok_or_else(wrong)?;
        let (thread, rest) = (thread.parse().map_err(|_| wrong())?, rest.trim_start());
        if rest.starts_with("+++") || rest.starts_with("---") {
            continue;
        }
        if let Some(entry) = rest.strip_suffix("<unfinished ...>") {
            begun.insert(thread, (line, entry.trim_end()));
            continue;
        }
        let (first, whole) = match rest.strip_prefix("<... ").and_then(|rest| rest.split_once(" resumed>")) {
            Some((_, tail)) => {
                let (first, entry) = begun.remove(&thread).ok_or_else(wrong)?;
                (first, format!("{entry}{tail}"))
            }
            None => (line, rest.to_owned()),
        };
        // A thread that was ended within a call has no answer, and a call that is begun anew after a signal has none yet.
        if whole.rsplit_once(" = ").is_none_or(|(_, answer)| !answer.starts_with('?')) {
            calls.push(call(thread, &whole, first, line).ok_or_else(wrong)?);
        }
    }
    Ok(calls)
}

/// A whole call, with its answer.
fn call(thread: u32, text: &str, begun: usize, ended: usize) -> Option<Call> {
    let (name, rest) = text.split_once('(')?;
    let (arguments, rest) = arguments(rest)?;
    let answer = rest.trim_start().strip_prefix("= ")?;
    let opened = place(answer.split(' ').next()?);
    let number: String = answer.chars().take_while(|letter| letter.is_ascii_alphanumeric() || *letter == '-').collect();
    let result = match number.strip_prefix("0x") {
        Some(hex) => u64::from_str_radix(hex, 16).ok()?.cast_signed(),
        None => number.parse().ok()?,
    };
    Some(Call { thread, name: name.to_owned(), arguments, result, opened, begun, ended })
}

/// The arguments, and what comes after the bracket that closes them.
fn arguments(text: &str) -> Option<(Vec<String>, &str)> {
    let (mut arguments, mut depth, mut from, mut in_string) = (Vec::new(), 0_usize, 0, false);
    for (at, letter) in text.char_indices() {
        match letter {
            '"' => in_string = !in_string,
            _ if in_string => {}
            '(' | '[' | '{' => depth += 1,
            ')' if depth == 0 => {
                arguments.push(text[from..at].trim().to_owned());
                return Some((arguments, &text[at + 1..]));
            }
            ')' | ']' | '}' => depth = depth.checked_sub(1)?,
            ',' if depth == 0 => {
                arguments.push(text[from..at].trim().to_owned());
                from = at + 1;
            }
            _ => {}
        }
    }
    None
}

/// `3<\x2f…>`, `AT_FDCWD<\x2f…>`.
fn place(text: &str) -> Option<Place> {
    let (number, rest) = text.split_once('<')?;
    let (path, rest) = rest.split_once('>')?;
    let number = if number == "AT_FDCWD" { -100 } else { number.parse().ok()? };
    let mut path = unescape(path)?;
    let mut deleted = rest.contains("deleted");
    if let Some(shorter) = path.strip_suffix(b" (deleted)") {
        path = shorter.to_vec();
        deleted = true;
    }
    Some(Place { number, path, deleted })
}

/// All strings in an argument, one after another; nothing where one was cut short.
fn quoted(text: &str) -> Option<Vec<u8>> {
    let mut bytes = Vec::new();
    let mut rest = text;
    while let Some((_, after)) = rest.split_once('"') {
        let (string, after) = after.split_once('"')?;
        if after.starts_with("...") {
            return None;
        }
        bytes.extend(unescape(string)?);
        rest = after;
    }
    Some(bytes)
}

fn unescape(text: &str) -> Option<Vec<u8>> {
    let (mut bytes, mut rest) = (Vec::with_capacity(text.len() / 4), text.as_bytes());
    while !rest.is_empty() {
        let (digits, after) = rest.strip_prefix(b"\\x")?.split_at_checked(2)?;
        bytes.push(u8::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()?);
        rest = after;
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_call_is_read_with_its_files_and_its_bytes() {
        let text = r#"17 pwrite64(3<\x2f\x61>, "\x22\x2c\x00", 3, 4096) = 3
17 openat(AT_FDCWD<\x2f>, "\x62", O_RDWR|O_CREAT, 0600) = 4<\x2f\x62>
17 write(4<\x2f\x62>(deleted), "\x61"..., 90) = 90
17 --- SIGCHLD {si_signo=SIGCHLD} ---
17 rename("\x61", "\x62") = -1 ENOENT (No such file or directory)
17 +++ exited with 0 +++
"#;
        let calls = read(text).expect("calls");
        assert_eq!(calls.len(), 4);
        assert_eq!(calls[0].place(0), Some(Place { number: 3, path: b"/a".to_vec(), deleted: false }));
        assert_eq!((calls[0].bytes(1), calls[0].number(3)), (Some(b"\",\0".to_vec()), Some(4096)));
        assert_eq!(calls[1].opened.as_ref().map(|place| place.path.as_slice()), Some(b"/b".as_slice()));
        assert_eq!(calls[1].place(0).expect("a folder").number, -100);
        assert!(calls[2].place(0).expect("a file").deleted);
        assert_eq!(calls[2].bytes(1), None, "what is not shown whole is not known");
        assert_eq!(calls[3].result, -1);
    }

    #[test]
    fn calls_that_interleave_come_in_the_order_in_which_they_ended() {
        let text = r#"1 fsync(3<\x2f\x61> <unfinished ...>
2 write(4<\x2f\x62>, "\x61", 1) = 1
1 <... fsync resumed>) = 0
3 exit_group(0) = ?
3 read(4<\x2f\x62>, 0x7ffd, 12) = ? ERESTARTSYS (To be restarted if SA_RESTART is set)
"#;
        let calls = read(text).expect("calls");
        let told: Vec<_> = calls.iter().map(|call| (call.name.as_str(), call.begun, call.ended)).collect();
        assert_eq!(told, [("write", 1, 1), ("fsync", 0, 2)]);
        assert!(read("1 nonsense\n").is_err());
    }
}
