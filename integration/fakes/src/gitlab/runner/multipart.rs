//! A form with a file in it, as runners send what a job made.

/// A file of a form.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct File<'a> {
    pub(super) name: String,
    pub(super) bytes: &'a [u8],
}

/// The file in the field of this name. A form that is cut off, or none at all, has none.
pub(super) fn file<'a>(content_type: &str, body: &'a [u8], field: &str) -> Option<File<'a>> {
    let boundary = content_type.split(';').find_map(|part| part.trim().strip_prefix("boundary="))?.trim_matches('"');
    if boundary.is_empty() || boundary.len() > 200 {
        return None;
    }
    let opening = format!("--{boundary}");
    let closing = format!("\r\n--{boundary}");
    let mut at = find(body, opening.as_bytes(), 0)? + opening.len();
    while body.get(at..)?.starts_with(b"\r\n") {
        let heads_end = find(body, b"\r\n\r\n", at)?;
        let heads = String::from_utf8_lossy(body.get(at..heads_end)?);
        let start = heads_end + 4;
        let end = find(body, closing.as_bytes(), start)?;
        if parameter(&heads, "name").as_deref() == Some(field) {
            return Some(File { name: parameter(&heads, "filename").unwrap_or_default(), bytes: body.get(start..end)? });
        }
        at = end + closing.len();
    }
    None
}

fn parameter(heads: &str, name: &str) -> Option<String> {
    let line = heads.lines().find(|line| line.to_ascii_lowercase().starts_with("content-disposition:"))?;
    let rest = &line[line.find(&format!(" {name}=\""))? + name.len() + 3..];
    rest.split('"').next().map(str::to_owned)
}

fn find(body: &[u8], what: &[u8], from: usize) -> Option<usize> {
    let first = *what.first()?;
    let mut at = from;
    loop {
        at += body.get(at..)?.iter().position(|byte| *byte == first)?;
        if body[at..].starts_with(what) {
            return Some(at);
        }
        at += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_found_between_other_fields_and_a_form_that_is_cut_has_none() {
        let body = b"--X\r\nContent-Disposition: form-data; name=\"a\"\r\n\r\n1\r\n--X\r\nContent-Disposition: form-data; name=\"file\"; \
            filename=\"out.zip\"\r\nContent-Type: application/octet-stream\r\n\r\nPK\r\n--Y\r\n\r\n--X--\r\n";
        let found = file("multipart/form-data; boundary=X", body, "file").unwrap();
        assert_eq!((found.name.as_str(), found.bytes), ("out.zip", &b"PK\r\n--Y\r\n"[..]));
        assert!(file("multipart/form-data; boundary=X", body, "other").is_none());
        assert!(file("multipart/form-data", body, "file").is_none());
        for cut in 0..body.len() - 10 {
            assert!(file("multipart/form-data; boundary=X", &body[..cut], "file").is_none(), "{cut}");
        }
    }
}
