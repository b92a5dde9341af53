//! What is wrong with a job file, in our words: the YAML library speaks to those who program with it, and not to those who
//! write the file.

use serde_path_to_error::{Path, Segment};
use serde_saphyr::granit_parser::ErrorKind;
use serde_saphyr::{Error, ExternalMessageSource, Location};

use super::DefinitionError;

/// What is said of an error that we have no words for.
const NOT_AS_EXPECTED: &str = "it is not YAML as it is expected here";

/// What is said of a file that would take too much work.
const TOO_INVOLVED: &str = "it has more than 10000 parts, is nested deeper than 16, or uses its aliases too often";

/// The keys that lead to a part of the file.
#[derive(Default)]
pub(super) struct Keys(Vec<String>);

impl Keys {
    /// Where the reading stopped. What comes of the library's [`serde_saphyr::Spanned`] is no key of the file.
    pub(super) fn to(path: &Path) -> Self {
        let mut keys: Vec<_> = path
            .iter()
            .filter_map(|segment| match segment {
                Segment::Map { key } => Some(key.clone()),
                Segment::Seq { .. } | Segment::Enum { .. } | Segment::Unknown => None,
            })
            .collect();
        // `version.value`, `jobs.value.NAME.value.…`: each level that remembers its place has such a key behind its own.
        for spanned in [1, 2] {
            if keys.get(spanned).is_some_and(|key| key == "value") {
                keys.remove(spanned);
            }
        }
        Self(keys)
    }

    /// What is expected of the part.
    fn expected(&self) -> String {
        let keys: Vec<_> = self.0.iter().map(String::as_str).collect();
        match keys[..] {
            [] => "the file must be a mapping with the keys `version` and `jobs`".to_owned(),
            ["version"] => "its version must be 1".to_owned(),
            ["jobs"] => "`jobs` must be a mapping of jobs by name".to_owned(),
            ["jobs", job] => format!("the job {job} must be a mapping with a `script`"),
            ["jobs", job, key @ ("env" | "artifacts")] => format!("`{key}` of the job {job} must be a mapping of names to texts"),
            ["jobs", job, "timeout"] => format!("`timeout` of the job {job} must be a time such as 90s, 15m or 2h"),
            ["jobs", job, key] => format!("`{key}` of the job {job} must be a text"),
            ["jobs", job, key, name] => format!("`{name}` in `{key}` of the job {job} must be a text"),
            _ => NOT_AS_EXPECTED.to_owned(),
        }
    }

    /// ` of the job NAME`, within one.
    fn of_job(&self) -> String {
        self.0.get(1).map_or_else(String::new, |job| format!(" of the job {job}"))
    }
}

/// This error, which was met at the keys in the text.
pub(super) fn wrong(text: &str, keys: &Keys, error: &Error) -> DefinitionError {
    let place = error.location().unwrap_or(Location::UNKNOWN);
    let mut at = (place.line(), place.column());
    let mut told = error.without_snippet();
    while let Error::AliasError { error, .. } = told {
        told = error.without_snippet();
    }
    let detail = match told {
        // The types of our own contract say by themselves what they take.
        Error::Message { msg, .. } => msg.clone(),
        Error::Eof { .. } if keys.0.is_empty() => format!("it is empty: {}", keys.expected()),
        Error::Eof { .. } => format!("it ends too early: {}", keys.expected()),
        Error::MultipleDocuments { .. } => {
            at = second_document(text, at);
            "it must be one YAML document, and a second one begins".to_owned()
        }
        Error::DuplicateMappingKey { key: Some(key), .. } => format!("the key `{key}` is there twice"),
        Error::DuplicateMappingKey { key: None, .. } => "a key is there twice".to_owned(),
        Error::SerdeUnknownField { field, expected, .. } => {
            format!("the key `{field}`{} is unknown; known are {}", keys.of_job(), expected.join(", "))
        }
        Error::SerdeMissingField { field, .. } => format!("the key `{field}`{} is missing", keys.of_job()),
        Error::NullIntoString { .. } => format!("{}, and is empty", keys.expected()),
        Error::Unexpected { .. }
        | Error::InvalidScalar { .. }
        | Error::TaggedScalarCannotDeserializeIntoString { .. }
        | Error::SerdeInvalidType { .. }
        | Error::SerdeInvalidValue { .. } => keys.expected(),
        Error::InvalidBinaryBase64 { .. } | Error::BinaryNotUtf8 { .. } => "`!!binary` must be base64 of a text".to_owned(),
        Error::MergeValueNotMapOrSeqOfMaps { .. } => "`<<` must be a mapping, or a list of mappings".to_owned(),
        Error::UnknownAnchor { .. } => "an alias must name an anchor that stands before it".to_owned(),
        Error::RecursiveReferencesRequireWeakTypes { .. } => "an alias must not stand within what it names".to_owned(),
        Error::Budget { .. }
        | Error::AliasReplayCounterOverflow { .. }
        | Error::AliasReplayLimitExceeded { .. }
        | Error::AliasExpansionLimitExceeded { .. }
        | Error::AliasReplayStackDepthExceeded { .. } => TOO_INVOLVED.to_owned(),
        Error::ExternalMessage { source, .. } => match &**source {
            ExternalMessageSource::Parser(error) => match error.kind() {
                ErrorKind::TabNotAllowed
                | ErrorKind::TabInBlockIndentation
                | ErrorKind::TabAtBlockScalarStart
                | ErrorKind::TabInIndentation
                | ErrorKind::TabInPlainScalar => match indenting_tab(text, at.0) {
                    Some(tab) => {
                        at = tab;
                        format!("a tab indents line {}: YAML is indented with spaces", tab.0)
                    }
                    None => "a tab stands where YAML takes spaces only".to_owned(),
                },
                kind => syntax(kind),
            },
            _ => NOT_AS_EXPECTED.to_owned(),
        },
        _ => NOT_AS_EXPECTED.to_owned(),
    };
    wrong_at(at, &detail)
}

/// What breaks the rules of YAML itself.
fn syntax(kind: &ErrorKind) -> String {
    let detail = match kind {
        ErrorKind::UnclosedFlowCollection { open } => return format!("the bracket `{open}` is not closed"),
        ErrorKind::MismatchedFlowCollectionEnd { open, close } => {
            return format!("the bracket `{open}` must not be closed by `{close}`");
        }
        ErrorKind::UnexpectedCharacter { character } if character.is_control() => {
            return format!("the character U+{:04X} must not be in YAML", u32::from(*character));
        }
        ErrorKind::UnexpectedCharacter { character } => {
            return format!("a text that begins with `{character}` must stand in quotes");
        }
        ErrorKind::MisplacedFlowCollectionEnd => "a bracket is closed that is not open",
        ErrorKind::UnclosedQuotedScalar => "a quote is not closed",
        ErrorKind::InvalidTrailingSingleQuotedScalar | ErrorKind::InvalidTrailingDoubleQuotedScalar => {
            "nothing may follow a text's closing quote on its line"
        }
        ErrorKind::UnknownQuotedScalarEscape
        | ErrorKind::InvalidQuotedScalarHexEscape
        | ErrorKind::InvalidLowSurrogateHexEscape
        | ErrorKind::InvalidLowSurrogate
        | ErrorKind::MissingLowSurrogate
        | ErrorKind::UnpairedLowSurrogate
        | ErrorKind::InvalidUnicodeEscape => "a text in double quotes has an escape that YAML does not know; write `\\\\` for a backslash",
        ErrorKind::MappingValueNotAllowed => "no value may begin here: a text that holds a colon and a space must stand in quotes",
        ErrorKind::SimpleKeyExpected | ErrorKind::InvalidSimpleKey => "a key with a colon behind it is expected",
        ErrorKind::InvalidIndentation
        | ErrorKind::InvalidBlockScalarIndent
        | ErrorKind::InvalidQuotedScalarIndent
        | ErrorKind::InvalidFlowScalarIndent => "a line must be indented as those that it belongs to",
        ErrorKind::BlockEntryInFlowCollection | ErrorKind::BlockSequenceEntryNotAllowed => "no list may begin here",
        ErrorKind::CommentNotSeparated => "a comment needs a space before its `#`",
        ErrorKind::RecursionLimitExceeded => TOO_INVOLVED,
        _ => NOT_AS_EXPECTED,
    };
    detail.to_owned()
}

/// The first tab that indents, from this line on: the library names the line where the text began that the tab ends. Only
/// asked when a tab is what is wrong, so that the lines of a script may begin with as many tabs as they like.
fn indenting_tab(text: &str, from: u64) -> Option<(u64, u64)> {
    (1..).zip(text.lines()).filter(|(line, _)| *line >= from).find_map(|(line, content)| {
        let spaces: u64 =
            (0..).zip(content.chars()).find(|(_, character)| *character != ' ').filter(|(_, character)| *character == '\t')?.0;
        Some((line, spaces + 1))
    })
}

/// Where the document begins that holds this place: the library names what stands in it.
fn second_document(text: &str, place: (u64, u64)) -> (u64, u64) {
    let marks = |content: &str| content.starts_with("---") || content.starts_with("...");
    (1..)
        .zip(text.lines())
        .take_while(|(line, _)| *line <= place.0)
        .filter(|(_, content)| marks(content))
        .last()
        .map_or(place, |(line, _)| (line, 1))
}

/// Something that is wrong at a line and a column.
pub(super) fn wrong_at((line, column): (u64, u64), detail: &str) -> DefinitionError {
    DefinitionError(format!("{}, at line {line}, column {column}", plain(detail)))
}

/// A detail without what could mislead a terminal, and not without end: it may hold what the file holds.
fn plain(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).take(500).collect()
}
