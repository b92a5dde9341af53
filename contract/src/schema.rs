//! Schemas of what is written otherwise than its type says. A derived schema sees the type alone, and not the words that a
//! macro has put into an attribute.

use utoipa::openapi::RefOr;
use utoipa::openapi::schema::{ObjectBuilder, Schema, Type};

/// One of these words.
pub(crate) fn words<const N: usize>(description: &str, words: [&'static str; N]) -> RefOr<Schema> {
    ObjectBuilder::new().schema_type(Type::String).description(Some(description)).enum_values(Some(words)).build().into()
}

/// A text of this form.
pub(crate) fn text(pattern: &str) -> RefOr<Schema> {
    ObjectBuilder::new().schema_type(Type::String).pattern(Some(pattern)).build().into()
}

#[cfg(test)]
mod tests {
    use utoipa::PartialSchema as _;

    use crate::{AttemptKey, Code, Failure, FailureCode, RunId};

    /// The words that a schema allows.
    fn allowed(schema: &utoipa::openapi::RefOr<utoipa::openapi::schema::Schema>) -> Vec<String> {
        let schema = serde_json::to_value(schema).expect("JSON");
        serde_json::from_value(schema["enum"].clone()).expect("words")
    }

    #[test]
    fn the_words_that_are_described_are_those_that_are_sent() {
        let codes = allowed(&Code::schema());
        for code in Code::ALL.iter().chain([&Code::Unknown]) {
            assert_eq!(serde_json::to_value(code).expect("JSON"), code.as_str());
            assert!(codes.iter().any(|known| known == code.as_str()), "{code:?}");
        }
        assert_eq!(codes.len(), Code::ALL.len() + 1);
        let failures = allowed(&FailureCode::schema());
        for word in &failures {
            let failure: Failure = serde_json::from_value(serde_json::json!({ "code": word, "detail": "x" })).expect(word);
            assert_eq!((failure.code.as_str(), serde_json::to_value(failure.code).expect("JSON")), (word.as_str(), word.as_str().into()));
        }
        assert!(failures.len() > 30, "{failures:?}");
    }

    #[test]
    fn a_word_of_a_newer_service_is_passed_on_as_unknown() {
        let code: Code = serde_json::from_str("\"brand-new\"").expect("some code");
        assert_eq!(serde_json::to_value(code).expect("JSON"), "unknown");
        let code: FailureCode = serde_json::from_str("\"brand_new\"").expect("some code");
        assert_eq!(serde_json::to_value(code).expect("JSON"), "unknown");
    }

    #[test]
    fn an_attempts_key_has_the_form_that_is_described() {
        let schema = serde_json::to_value(AttemptKey::schema()).expect("JSON");
        assert_eq!(schema["pattern"], "^[0-9a-hjkmnp-tv-z]{26}-(0|[1-9][0-9]{0,4})-[1-9][0-9]{0,4}$");
        let key = AttemptKey { run: RunId::from_uuid(uuid::Uuid::max()), step: 65_535, attempt: 65_535 }.to_string();
        let (run, rest) = key.split_at(26);
        assert!(run.bytes().all(|byte| b"0123456789abcdefghjkmnpqrstvwxyz".contains(&byte)) && rest == "-65535-65535", "{key}");
    }
}
