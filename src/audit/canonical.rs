//! A record as the evidence sees it: what will be in its row.

use crate::pg::copy_in::Conversion;
use crate::pg::rows;
use evidence::record::{Row, SALT};
use policy::record::{End, Origin, Start};
use std::borrow::Cow;
use std::rc::Rc;

/// Two salts, one for each group of personal fields.
pub const SALTS: usize = 2 * SALT;

/// Text that comes back from the database as it went in: characters that its encoding does not
/// have are replaced before.
pub fn as_stored<'a>(s: &'a Start, conversion: Conversion) -> Cow<'a, Start> {
    if matches!(conversion, Conversion::None) || is_ascii(s) {
        return Cow::Borrowed(s);
    }
    let stored = |text: &str| -> String {
        let mut bytes = Vec::new();
        conversion.put(text, &mut bytes);
        String::from_utf8_lossy(&rows::utf8(&bytes)).into_owned()
    };
    let opt = |text: &Option<String>| text.as_deref().map(stored);
    let list = |texts: &[String]| texts.iter().map(|t| stored(t)).collect();
    let o = &*s.origin;
    let mut s = s.clone();
    s.origin = Origin {
        user_email: opt(&o.user_email),
        assurance: o.assurance.clone(),
        role_name: stored(&o.role_name),
        session_user_name: stored(&o.session_user_name),
        database_name: stored(&o.database_name),
        application_name: stored(&o.application_name),
        client_addr: o.client_addr,
        backend_pid: o.backend_pid,
        session_id: stored(&o.session_id),
    }
    .into();
    s.command_tag = s.command_tag.as_deref().map(|t| stored(t).into());
    s.statement = s.statement.as_deref().map(|t| stored(t).into());
    let objects = Rc::make_mut(&mut s.objects);
    objects.relations = list(&objects.relations);
    objects.masked_columns = list(&objects.masked_columns);
    objects.functions = list(&objects.functions);
    for field in [
        &mut s.rule,
        &mut s.object,
        &mut s.agent,
        &mut s.conversation,
        &mut s.trace_id,
    ] {
        *field = opt(field);
    }
    Cow::Owned(s)
}

fn is_ascii(s: &Start) -> bool {
    let o = &*s.origin;
    let ascii = |t: &Option<String>| t.as_deref().is_none_or(str::is_ascii);
    let all = |l: &[String]| l.iter().all(|t| t.is_ascii());
    [
        &o.role_name,
        &o.session_user_name,
        &o.database_name,
        &o.application_name,
    ]
    .iter()
    .all(|t| t.is_ascii())
        && s.statement.as_deref().is_none_or(str::is_ascii)
        && s.command_tag.as_deref().is_none_or(str::is_ascii)
        && [&s.rule, &s.object, &s.agent, &s.conversation, &s.trace_id]
            .into_iter()
            .all(ascii)
        && ascii(&o.user_email)
        && all(&s.objects.relations)
        && all(&s.objects.masked_columns)
        && all(&s.objects.functions)
}

/// The row, as it is written.
pub fn row<'a>(seq: i64, s: &'a Start, end: Option<&'a End>, salts: &'a [u8; SALTS]) -> Row<'a> {
    fn opt(text: &Option<String>) -> Option<&[u8]> {
        text.as_deref().map(str::as_bytes)
    }
    fn list(texts: &[String]) -> Vec<&[u8]> {
        texts.iter().map(String::as_bytes).collect()
    }
    let count = |n: u64| i64::try_from(n).unwrap_or(i64::MAX);
    let (who_seal, text_seal) = salts.split_at(SALT);
    let o = &*s.origin;
    Row {
        seq,
        event_id: s.event_id,
        user_email: opt(&o.user_email),
        assurance: o.assurance.as_bytes(),
        role_name: o.role_name.as_bytes(),
        session_user_name: o.session_user_name.as_bytes(),
        database_name: o.database_name.as_bytes(),
        application_name: o.application_name.as_bytes(),
        client_addr: o.client_addr.map(Into::into),
        backend_pid: o.backend_pid.into(),
        backend_seq: count(s.backend_seq),
        session_id: o.session_id.as_bytes(),
        transaction_id: i64::try_from(s.transaction_id).ok().filter(|x| *x > 0),
        started_at: super::row::started_at(s),
        duration_ms: end.map(|e| e.duration as f64 / 1000.0),
        nesting_level: i32::try_from(s.nesting_level).unwrap_or(i32::MAX).into(),
        command_tag: s.command_tag.as_deref().map(str::as_bytes),
        query_id: Some(s.query_id).filter(|id| *id != 0),
        statement: s.statement.as_deref().map(str::as_bytes),
        statement_sha256: &s.statement_sha256,
        relations: list(&s.objects.relations),
        masked_columns: list(&s.objects.masked_columns),
        functions: list(&s.objects.functions),
        rows_returned: end.map(|e| count(e.rows_returned)),
        rows_processed: end.map(|e| count(e.rows_processed)),
        bytes_returned: end.map(|e| count(e.bytes_returned)),
        truncated: end.is_some_and(|e| e.truncated),
        verdict: s.verdict.as_str().as_bytes(),
        rule: opt(&s.rule),
        object: opt(&s.object),
        outcome: end
            .map(|e| e.outcome)
            .unwrap_or_default()
            .as_str()
            .as_bytes(),
        sqlstate: end
            .and_then(|e| e.sqlstate.as_ref())
            .and_then(|c| std::str::from_utf8(c).ok())
            .map(str::as_bytes),
        agent: opt(&s.agent),
        conversation: opt(&s.conversation),
        trace_id: opt(&s.trace_id),
        policy_version: s.policy_version,
        who_seal,
        text_seal,
    }
}
