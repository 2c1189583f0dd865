//! GPT-2's tokens, and text decoded from them; the tokens of CLIP's texts.

use oscar_clipcap::Gpt2Tokenizer;
use oscar_vision::clip::ClipTokenizer;
use serde_json::Value;

use crate::check::{Checks, Report};
use crate::set::{Set, read_json};

fn ids(value: &Value) -> Vec<u32> {
    let ids = value.as_array().into_iter().flatten();
    ids.filter_map(Value::as_u64).map(|id| id as u32).collect()
}

/// Every encoding and decoding of a set.
pub fn check(set: &Set) -> Result<Report, String> {
    let mut checks = Checks::default();
    let tokenizer = Gpt2Tokenizer::open(&set.dir).map_err(|error| error.to_string())?;
    let expected = read_json(&set.dir.join("expected.json"))?;
    let entries = |key: &str| expected[key].as_array().cloned().unwrap_or_default();
    let size = tokenizer.vocab_size() as u64;
    checks.exact("vocab_size", &Some(size), &expected["vocab_size"].as_u64());
    for entry in entries("encode") {
        let text = entry["text"].as_str().unwrap_or_default();
        let got = tokenizer.encode(text);
        checks.exact(&format!("ids of {text:?}"), &got, &ids(&entry["ids"]));
        let tokens: Vec<String> = got.iter().filter_map(|id| tokenizer.token(*id)).collect();
        let wanted = entry["tokens"].as_array().into_iter().flatten();
        let wanted: Vec<String> = wanted
            .filter_map(|token| token.as_str().map(String::from))
            .collect();
        checks.exact(&format!("tokens of {text:?}"), &tokens, &wanted);
    }
    for entry in entries("decode") {
        let ids = ids(&entry["ids"]);
        let text = |key: &str| entry[key].as_str().unwrap_or_default().to_string();
        let name = format!("text of {ids:?}");
        checks.exact(&name, &tokenizer.decode(&ids), &text("text"));
        let exactly = tokenizer.decode_exactly(&ids);
        checks.exact(&name, &exactly, &text("text_without_clean_up"));
    }
    Ok(checks.finish())
}

/// Every encoding of a set of CLIP's tokenizer, between the tokens that begin and end a text.
pub fn check_clip(set: &Set) -> Result<Report, String> {
    let mut checks = Checks::default();
    let expected = read_json(&set.dir.join("expected.json"))?;
    let size = expected["size"].as_u64().unwrap_or_default() as usize;
    let tokenizer = ClipTokenizer::open(&set.dir, size).map_err(|error| error.to_string())?;
    let specials = ids(&expected["specials"]);
    let (start, end) = specials.split_at(1);
    for entry in expected["clip_encode"].as_array().into_iter().flatten() {
        let text = entry["text"].as_str().unwrap_or_default();
        let wanted = [start, &ids(&entry["ids"]), end].concat();
        checks.exact(
            &format!("ids of {text:?}"),
            &tokenizer.encode(text),
            &wanted,
        );
    }
    Ok(checks.finish())
}
