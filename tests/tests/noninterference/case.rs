//! Cases: what is said in one session, in order, and what is answered.

use cluster_tests::Wire;

#[derive(Clone, Debug, PartialEq)]
pub enum Step {
    /// A simple query.
    Simple(String),
    /// Parse, Bind, Describe, Execute.
    Extended {
        text: String,
        values: Vec<Option<String>>,
        binary: bool,
        rows: i32,
    },
    /// Parse once, run often: custom plans first, a generic one in the end.
    Named {
        text: String,
        runs: Vec<Vec<Option<String>>>,
    },
    /// COPY … FROM STDIN with this.
    Copy { text: String, data: String },
}

impl Step {
    pub fn text(&self) -> &str {
        match self {
            Self::Simple(text)
            | Self::Extended { text, .. }
            | Self::Named { text, .. }
            | Self::Copy { text, .. } => text,
        }
    }

    pub fn with_text(&self, new: String) -> Self {
        let mut step = self.clone();
        match &mut step {
            Self::Simple(text)
            | Self::Extended { text, .. }
            | Self::Named { text, .. }
            | Self::Copy { text, .. } => *text = new,
        }
        step
    }

    /// Every byte of the answer, and whether that was the end of the session.
    fn run(&self, wire: &mut Wire) -> (Vec<u8>, bool) {
        fn borrowed(values: &[Option<String>]) -> Vec<Option<&str>> {
            values.iter().map(Option::as_deref).collect()
        }
        wire.received.clear();
        let mut closed = false;
        match self {
            Self::Simple(text) => closed = wire.simple(text).closed,
            Self::Copy { text, data } => {
                wire.copy_in = data.clone().into_bytes();
                closed = wire.simple(text).closed;
            }
            Self::Extended {
                text,
                values,
                binary,
                rows,
            } => {
                wire.parse("", text)
                    .describe(b'S', "")
                    .bind("", "", &borrowed(values), *binary)
                    .describe(b'P', "")
                    .execute("", *rows);
                if *rows > 0 {
                    wire.execute("", *rows).execute("", 0);
                }
                closed = wire.sync().closed;
            }
            Self::Named { text, runs } => {
                wire.parse("n", text).describe(b'S', "n").sync();
                for values in runs {
                    closed = closed || wire.run("n", &borrowed(values)).closed;
                }
                wire.put(b'C', b"Sn\0");
                closed = closed || wire.sync().closed;
            }
        }
        (std::mem::take(&mut wire.received), closed)
    }
}

#[derive(Clone, Debug, PartialEq)]
pub struct Case {
    pub role: &'static str,
    pub database: &'static str,
    /// Where it is from, for messages.
    pub origin: String,
    pub steps: Vec<Step>,
}

/// What came back, step by step.
#[derive(Clone, Debug, PartialEq, Default)]
pub struct Answers {
    pub steps: Vec<Vec<u8>>,
    pub closed: bool,
}

impl Case {
    /// In this session, which is put back as it was.
    pub fn run(&self, wire: &mut Wire) -> Answers {
        let mut answers = Answers::default();
        for step in &self.steps {
            let (bytes, closed) = step.run(wire);
            answers.steps.push(whoever_says_it(&bytes));
            if closed {
                answers.closed = true;
                return answers;
            }
        }
        if wire.status != b'I' {
            wire.simple("ROLLBACK");
        }
        if self.steps.iter().any(|step| changes_session(step.text())) {
            wire.simple("DISCARD ALL");
        }
        wire.received.clear();
        answers
    }
}

fn changes_session(text: &str) -> bool {
    let head: String = text
        .trim_start()
        .chars()
        .take(8)
        .collect::<String>()
        .to_ascii_uppercase();
    !(head.starts_with("SELECT")
        || head.starts_with("WITH")
        || head.starts_with("EXPLAIN")
        || head.starts_with("VALUES")
        || head.starts_with("BEGIN")
        || head.starts_with("ROLLBACK"))
        || text.contains("set_config")
}

impl Answers {
    /// A statement ran out of time: how far it came by then depends on the machine.
    pub fn timed_out(&self) -> bool {
        self.steps.iter().any(|bytes| {
            errors(bytes)
                .iter()
                .any(|error| matches!(error.sqlstate.as_str(), "57014" | "55P03"))
        })
    }

    /// What is left where a statement's answer differs from one time to the next in the same world: rows without their
    /// order, numbers without their digits.
    pub fn loosely(&self) -> Vec<Vec<u8>> {
        self.steps
            .iter()
            .map(|bytes| {
                let mut rows = Vec::new();
                let mut rest = Vec::new();
                for (kind, body) in messages(bytes) {
                    let body: Vec<u8> = body
                        .iter()
                        .map(|b| if b.is_ascii_digit() { b'0' } else { *b })
                        .collect();
                    if matches!(kind, b'D' | b'd') {
                        rows.push(body)
                    } else {
                        rest.push((kind, body))
                    }
                }
                rows.sort();
                let mut all: Vec<u8> = rows.concat();
                for (kind, body) in rest {
                    all.push(kind);
                    all.extend(body);
                }
                all
            })
            .collect()
    }

    /// The number of the first step that was answered differently, and the answers.
    pub fn difference(&self, other: &Self) -> Option<(usize, String)> {
        let at = (0..self.steps.len().max(other.steps.len()))
            .find(|i| self.steps.get(*i) != other.steps.get(*i))?;
        let empty = Vec::new();
        let (a, b) = (
            self.steps.get(at).unwrap_or(&empty),
            other.steps.get(at).unwrap_or(&empty),
        );
        let place = a.iter().zip(b).take_while(|(a, b)| a == b).count();
        let around = |bytes: &[u8]| {
            let part =
                &bytes[place.saturating_sub(150).min(bytes.len())..(place + 250).min(bytes.len())];
            String::from_utf8_lossy(part)
                .chars()
                .map(|c| if c.is_control() { ' ' } else { c })
                .collect::<String>()
        };
        Some((
            at,
            format!(
                "at byte {place}:\n    here:  {}\n    there: {}",
                around(a),
                around(b)
            ),
        ))
    }
}

/// Whether a parallel worker or its leader comes first to a row that raises an error is the processors' affair: the
/// CONTEXT that says so is left out.
fn whoever_says_it(bytes: &[u8]) -> Vec<u8> {
    const WORKER: &[u8] = b"Wparallel worker";
    let mut all = Vec::with_capacity(bytes.len());
    for (kind, body) in messages(bytes) {
        let mut body = body.to_vec();
        if matches!(kind, b'E' | b'N') {
            let fields = body.split(|b| *b == 0).filter(|field| *field != WORKER);
            body = fields.collect::<Vec<_>>().join(&0);
        }
        all.push(kind);
        all.extend((body.len() as u32 + 4).to_be_bytes());
        all.extend(body);
    }
    all
}

/// The messages of an answer: kind and body.
fn messages(bytes: &[u8]) -> Vec<(u8, &[u8])> {
    let mut all = Vec::new();
    let mut at = 0;
    while let Some(head) = bytes.get(at..at + 5) {
        let length = u32::from_be_bytes([head[1], head[2], head[3], head[4]]) as usize;
        let end = (at + 1 + length.max(4)).min(bytes.len());
        all.push((head[0], &bytes[(at + 5).min(end)..end]));
        at = end;
    }
    all
}

/// An error in an answer.
pub struct Answered {
    pub sqlstate: String,
    pub message: String,
    /// The function of the server's source that raised it.
    pub routine: String,
}

pub fn errors(bytes: &[u8]) -> Vec<Answered> {
    messages(bytes)
        .into_iter()
        .filter(|(kind, _)| *kind == b'E')
        .map(|(_, body)| {
            let field = |name: u8| {
                body.split(|b| *b == 0)
                    .find(|field| field.first() == Some(&name))
                    .map(|field| String::from_utf8_lossy(&field[1..]).into_owned())
                    .unwrap_or_default()
            };
            Answered {
                sqlstate: field(b'C'),
                message: field(b'M'),
                routine: field(b'R'),
            }
        })
        .collect()
}
