//! The expressions of `rules: if`: comparing, matching, `&&`, `||`, parentheses, `null`, variables, strings, patterns.

use super::pattern::Pattern;
use super::variable::Scope;

/// How deep parentheses may nest: enough for people, and no stack to overflow.
const DEEPEST: usize = 32;
const LONGEST: usize = 20_000;

/// One expression, checked when the definition was read.
#[derive(Clone, Debug)]
pub(super) struct Expression(Term);

#[derive(Clone, Debug)]
enum Term {
    Null,
    Text(String),
    Variable(String),
    Pattern(Pattern),
    Equals(Box<Term>, Box<Term>),
    Differs(Box<Term>, Box<Term>),
    Matches(Box<Term>, Box<Term>),
    MatchesNot(Box<Term>, Box<Term>),
    And(Box<Term>, Box<Term>),
    Or(Box<Term>, Box<Term>),
}

/// What a term comes to. It has Ruby's idea of truth, as GitLab is written in it: only nothing and `false` are not true.
#[derive(Clone, Debug, PartialEq)]
enum Outcome {
    Null,
    Text(String),
    Pattern(String),
    Bool(bool),
}

impl Expression {
    /// Reads an expression; nothing when its syntax is wrong.
    pub(super) fn parse(text: &str) -> Option<Self> {
        if text.len() > LONGEST {
            return None;
        }
        let words = words(text)?;
        let mut reader = Reader { words: &words, at: 0, depth: 0 };
        let term = reader.any()?;
        (reader.at == words.len()).then_some(Self(term))
    }

    /// Whether it holds for these variables: an empty text does not.
    pub(super) fn holds(&self, scope: &Scope) -> bool {
        match self.0.evaluate(scope) {
            Outcome::Null => false,
            Outcome::Bool(is) => is,
            Outcome::Text(text) => !text.trim().is_empty(),
            Outcome::Pattern(_) => true,
        }
    }
}

impl Outcome {
    fn counts(&self) -> bool {
        !matches!(self, Self::Null | Self::Bool(false))
    }
}

impl Term {
    fn evaluate(&self, scope: &Scope) -> Outcome {
        match self {
            Self::Null => Outcome::Null,
            Self::Text(text) => Outcome::Text(text.clone()),
            Self::Variable(name) => scope.value(name).map_or(Outcome::Null, |value| Outcome::Text(value.to_owned())),
            Self::Pattern(pattern) => Outcome::Pattern(pattern.source().to_owned()),
            Self::Equals(left, right) => Outcome::Bool(left.evaluate(scope) == right.evaluate(scope)),
            Self::Differs(left, right) => Outcome::Bool(left.evaluate(scope) != right.evaluate(scope)),
            Self::Matches(left, right) => Outcome::Bool(matches(left, right, scope)),
            Self::MatchesNot(left, right) => Outcome::Bool(!matches(left, right, scope)),
            Self::And(left, right) => {
                let left = left.evaluate(scope);
                if left.counts() { right.evaluate(scope) } else { left }
            }
            Self::Or(left, right) => {
                let left = left.evaluate(scope);
                if left.counts() { left } else { right.evaluate(scope) }
            }
        }
    }
}

/// A missing text is matched as an empty one; a variable that holds no pattern matches nothing.
fn matches(left: &Term, right: &Term, scope: &Scope) -> bool {
    let text = match left.evaluate(scope) {
        Outcome::Text(text) => text,
        _ => String::new(),
    };
    match right {
        Term::Pattern(pattern) => pattern.matches(&text),
        other => match other.evaluate(scope) {
            Outcome::Text(source) => Pattern::parse(&source).is_some_and(|pattern| pattern.matches(&text)),
            _ => false,
        },
    }
}

#[derive(Clone, Debug)]
enum Word {
    Open,
    Close,
    And,
    Or,
    Equals,
    Differs,
    Matches,
    MatchesNot,
    Operand(Term),
}

fn words(text: &str) -> Option<Vec<Word>> {
    let mut words = Vec::new();
    let mut rest = text.trim_start();
    while !rest.is_empty() {
        let (word, used) = word(rest)?;
        words.push(word);
        rest = rest[used..].trim_start();
    }
    Some(words)
}

fn word(rest: &str) -> Option<(Word, usize)> {
    for (sign, word) in [
        ("(", Word::Open),
        (")", Word::Close),
        ("&&", Word::And),
        ("||", Word::Or),
        ("==", Word::Equals),
        ("!=", Word::Differs),
        ("=~", Word::Matches),
        ("!~", Word::MatchesNot),
    ] {
        if rest.starts_with(sign) {
            return Some((word, sign.len()));
        }
    }
    match rest.as_bytes().first()? {
        b'$' => {
            let name: String = rest[1..].chars().take_while(|c| c.is_ascii_alphanumeric() || *c == '_').collect();
            let used = name.len() + 1;
            (!name.is_empty()).then_some((Word::Operand(Term::Variable(name)), used))
        }
        quote @ (b'"' | b'\'') => {
            let end = rest[1..].find(char::from(*quote))? + 1;
            Some((Word::Operand(Term::Text(rest[1..end].to_owned())), end + 1))
        }
        b'/' => {
            let used = pattern_length(rest)?;
            Some((Word::Operand(Term::Pattern(Pattern::parse(&rest[..used])?)), used))
        }
        _ => rest.strip_prefix("null").map(|_| (Word::Operand(Term::Null), 4)),
    }
}

/// How far a pattern reaches: to the first slash that no backslash stands before, and the flags after it.
fn pattern_length(rest: &str) -> Option<usize> {
    let bytes = rest.as_bytes();
    let mut at = 1;
    while at < bytes.len() {
        match bytes[at] {
            b'\\' => at += 2,
            b'/' => {
                let flags = bytes[at + 1..].iter().take_while(|flag| b"ismU".contains(flag)).count();
                return Some(at + 1 + flags);
            }
            _ => at += 1,
        }
    }
    None
}

struct Reader<'a> {
    words: &'a [Word],
    at: usize,
    depth: usize,
}

impl Reader<'_> {
    fn next(&mut self) -> Option<Word> {
        let word = self.words.get(self.at).cloned();
        self.at += 1;
        word
    }

    fn peek(&self) -> Option<&Word> {
        self.words.get(self.at)
    }

    fn any(&mut self) -> Option<Term> {
        let mut term = self.all()?;
        while matches!(self.peek(), Some(Word::Or)) {
            self.at += 1;
            term = Term::Or(Box::new(term), Box::new(self.all()?));
        }
        Some(term)
    }

    fn all(&mut self) -> Option<Term> {
        let mut term = self.comparison()?;
        while matches!(self.peek(), Some(Word::And)) {
            self.at += 1;
            term = Term::And(Box::new(term), Box::new(self.comparison()?));
        }
        Some(term)
    }

    fn comparison(&mut self) -> Option<Term> {
        let left = self.operand()?;
        let Some(sign @ (Word::Equals | Word::Differs | Word::Matches | Word::MatchesNot)) = self.peek().cloned() else {
            return Some(left);
        };
        self.at += 1;
        let (left, right) = (Box::new(left), Box::new(self.operand()?));
        Some(match sign {
            Word::Equals => Term::Equals(left, right),
            Word::Differs => Term::Differs(left, right),
            Word::Matches => Term::Matches(left, right),
            _ => Term::MatchesNot(left, right),
        })
    }

    fn operand(&mut self) -> Option<Term> {
        match self.next()? {
            Word::Operand(term) => Some(term),
            Word::Open if self.depth < DEEPEST => {
                self.depth += 1;
                let term = self.any()?;
                self.depth -= 1;
                matches!(self.next()?, Word::Close).then_some(term)
            }
            _ => None,
        }
    }
}
