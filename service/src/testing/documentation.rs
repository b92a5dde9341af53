//! Whether `docs/operating.md` names the keys of a configuration, all of them and no others.

use std::collections::BTreeSet;

use crate::config::Reader;

/// The section with the keys that every service has.
const COMMON: &str = "Every service";

/// The keys that a service's section of `docs/operating.md` and the code do not agree on, each with what is wrong; none if
/// all is well. `reader` has read a configuration in which each table of `file` is there: keys of a table that is not
/// there are asked for by nobody.
pub fn undocumented_keys(reader: &Reader, documentation: &str, file: &str) -> Vec<String> {
    let known: BTreeSet<String> = reader.known_keys().into_iter().map(|key| key.path).collect();
    let documented: BTreeSet<String> = [COMMON, file].iter().flat_map(|heading| keys_below(documentation, heading)).collect();
    let unsaid = known.difference(&documented).map(|key| format!("{key} is not in docs/operating.md, section {file}"));
    let unknown =
        documented.difference(&known).map(|key| format!("docs/operating.md has {key} for {file}, which the code does not ask for"));
    unsaid.chain(unknown).collect()
}

/// The keys in the first columns of the tables below a heading of the third level.
fn keys_below(text: &str, heading: &str) -> Vec<String> {
    let mut keys = Vec::new();
    // What stands before the keys of a table: the name of the table of which the line above it tells.
    let mut table = String::new();
    let below = text.lines().skip_while(|line| *line != format!("### {heading}")).skip(1);
    for line in below.take_while(|line| !line.starts_with("## ") && !line.starts_with("### ")) {
        if let Some(row) = line.strip_prefix("| ") {
            let cell = row.split(" | ").next().unwrap_or_default();
            let (mut base, mut beside) = (table.clone(), String::new());
            for word in cell.split('`').skip(1).step_by(2) {
                if let Some(name) = table_of(word) {
                    base = name;
                } else if let Some(sibling) = word.strip_prefix('.') {
                    keys.push(format!("{beside}{sibling}"));
                } else {
                    let key = format!("{base}{word}");
                    // Those that follow in the same cell and begin with a dot stand in the same table.
                    beside = key.rsplit_once('.').map_or_else(String::new, |(table, _)| format!("{table}."));
                    keys.push(key);
                }
            }
        } else if !line.is_empty() && !line.starts_with('|') {
            table = line.strip_prefix('`').and_then(|line| line.split('`').next()).and_then(table_of).unwrap_or_default();
        }
    }
    keys
}

/// What stands before the keys of the table that is written like this: `[mirrors.NAME]`, `[[sources]]`.
fn table_of(word: &str) -> Option<String> {
    if let Some(name) = word.strip_prefix("[[").and_then(|word| word.strip_suffix("]]")) {
        return Some(format!("{name}[]."));
    }
    word.strip_prefix('[').and_then(|word| word.strip_suffix(']')).map(|name| format!("{name}."))
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "### Every service\n\n| key | default |\n|---|---|\n| `listen` | one |\n\n### x.toml\n\n| key | default |\n|---|---|\n\
                        | `a`, `b.c`, `.d` | see [`e`](#e) |\n| `[[mask]]` `file` | `f` |\n\n`[places.NAME]`, one for each:\n\n| key |\n|---|\n\
                        | `url` | g |\n\nEach is asked.\n\n| `queue` | 1 |\n\n### y.toml\n\n| `z` | 1 |\n";

    #[test]
    fn keys_are_read_from_the_tables_of_a_section() {
        assert_eq!(keys_below(TEXT, "x.toml"), ["a", "b.c", "b.d", "mask[].file", "places.NAME.url", "queue"]);
    }

    #[test]
    fn a_key_that_one_of_both_does_not_have_is_told() {
        let mut reader = Reader::parse("x.toml", "[b]\n[[mask]]\n[places.one]\n").expect("TOML");
        let _ = (reader.or("listen", 1_i64), reader.or("a", 1_i64), reader.or("queue", 1_i64), reader.or("unsaid", 1_i64));
        reader.table("b", |reader| Some((reader.or("c", 1_i64), reader.or("d", 1_i64))));
        reader.tables("mask", |reader| Some(reader.or("file", 1_i64)));
        assert_eq!(
            undocumented_keys(&reader, TEXT, "x.toml"),
            [
                "unsaid is not in docs/operating.md, section x.toml",
                "docs/operating.md has places.NAME.url for x.toml, which the code does not ask for"
            ]
        );
    }
}
