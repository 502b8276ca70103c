//! The labelled set with what the classifier finds in it, one JSON object a line: what
//! `scripts/compare-presidio.sh` lays beside the findings of others.

#[path = "../tests/labelled/mod.rs"]
#[allow(dead_code)]
mod labelled;

use labelled::{Example, examples, written};
use policy::sensitive::{Category, find};
use serde_json::{Value, json};

fn line(set: &str, text: &str, label: Option<(Category, usize, usize)>) -> Value {
    // In characters, as others count.
    let place = |bytes: usize| text.get(..bytes).map_or(0, |head| head.chars().count());
    let piece = |category: Category, start: usize, end: usize| json!({"category": category.word(), "start": place(start), "end": place(end)});
    let found: Vec<Value> = find(text.as_bytes())
        .iter()
        .map(|f| piece(f.category, f.start, f.end))
        .collect();
    json!({
        "set": set,
        "text": text,
        "label": label.map(|(category, start, end)| piece(category, start, end)),
        "found": found,
    })
}

fn main() {
    for Example { text, label, .. } in examples(150, 60) {
        println!("{}", line("generated", &text, label));
    }
    for (category, text, value) in written::POSITIVES {
        let start = text.find(value).unwrap_or(0);
        let label = Some((*category, start, start + value.len()));
        println!("{}", line("written", text, label));
    }
    for text in written::NEGATIVES {
        println!("{}", line("written", text, None));
    }
}
