//! The canonical form of a row of the log.
//!
//! A record is the version, then the row's public fields in the order of [`Row::leaf`], then the
//! commitments of its two groups of personal fields. A field is its length (four bytes, `ffffffff`
//! for NULL) and its value: text in UTF-8, integers in eight bytes, `duration_ms` as IEEE 754
//! double, a boolean in one byte, an address as prefix length and address bytes, a list of texts as
//! its number of elements (four bytes) and the elements as fields.
//!
//! Personal fields are not in the record itself, only a salted hash of each group is. A *seal* is
//! stored with the row for each group: the salt (16 bytes) as long as the fields are there. Erasing
//! overwrites the fields and replaces the salt by the commitment and the number of the block that
//! tells of the erasure (40 bytes): the leaf stays what it was, and without the salt nobody can try
//! values on the commitment. An export may keep the personal fields to itself; it then has the
//! commitment alone (32 bytes).
//!
//! | group | fields |
//! |---|---|
//! | 1, who | `user_email`, `client_addr`, and role names that look like an address (with an `@`) |
//! | 2, text | `application_name`, `statement`, `statement_sha256`, `object`, `agent`, `conversation`, `trace_id` |

use crate::{Hash, VERSION, merkle, sha256};
use std::net::IpAddr;

/// What stands in for a role name that is erased.
pub const ERASED: &[u8] = b"erased";
pub const SALT: usize = 16;

/// A row; text in UTF-8.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Row<'a> {
    pub seq: i64,
    pub event_id: [u8; 16],
    pub user_email: Option<&'a [u8]>,
    pub assurance: &'a [u8],
    pub role_name: &'a [u8],
    pub session_user_name: &'a [u8],
    pub database_name: &'a [u8],
    pub application_name: &'a [u8],
    pub client_addr: Option<Address>,
    pub backend_pid: i64,
    pub backend_seq: i64,
    pub session_id: &'a [u8],
    pub transaction_id: Option<i64>,
    pub started_at: i64,
    pub duration_ms: Option<f64>,
    pub nesting_level: i64,
    pub command_tag: Option<&'a [u8]>,
    pub query_id: Option<i64>,
    pub statement: Option<&'a [u8]>,
    pub statement_sha256: &'a [u8],
    pub relations: Vec<&'a [u8]>,
    pub masked_columns: Vec<&'a [u8]>,
    pub functions: Vec<&'a [u8]>,
    pub rows_returned: Option<i64>,
    pub rows_processed: Option<i64>,
    pub bytes_returned: Option<i64>,
    pub truncated: bool,
    pub verdict: &'a [u8],
    pub rule: Option<&'a [u8]>,
    pub object: Option<&'a [u8]>,
    pub outcome: &'a [u8],
    pub sqlstate: Option<&'a [u8]>,
    pub agent: Option<&'a [u8]>,
    pub conversation: Option<&'a [u8]>,
    pub trace_id: Option<&'a [u8]>,
    pub policy_version: i64,
    pub who_seal: &'a [u8],
    pub text_seal: &'a [u8],
}

/// An address with its prefix length, as PostgreSQL's `inet`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Address {
    pub ip: IpAddr,
    pub prefix: u8,
}

impl From<IpAddr> for Address {
    fn from(ip: IpAddr) -> Self {
        let prefix = if ip.is_ipv4() { 32 } else { 128 };
        Self { ip, prefix }
    }
}

impl std::str::FromStr for Address {
    type Err = ();
    fn from_str(s: &str) -> Result<Self, ()> {
        let (ip, prefix) = match s.split_once('/') {
            Some((ip, prefix)) => (ip, Some(prefix.parse().map_err(|_| ())?)),
            None => (s, None),
        };
        let mut address = Self::from(ip.parse::<IpAddr>().map_err(|_| ())?);
        address.prefix = prefix.unwrap_or(address.prefix);
        Ok(address)
    }
}

/// What the seal of a group says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Seal {
    Open([u8; SALT]),
    /// Commitment, and the block that tells of the erasure.
    Erased(Hash, i64),
    /// In an export only: the fields were kept back.
    Closed(Hash),
}

impl Seal {
    #[must_use]
    pub fn parse(bytes: &[u8]) -> Option<Self> {
        if let Ok(salt) = bytes.try_into() {
            return Some(Self::Open(salt));
        }
        let (hash, rest) = bytes.split_first_chunk::<32>()?;
        if rest.is_empty() {
            return Some(Self::Closed(*hash));
        }
        let block = i64::from_be_bytes(rest.try_into().ok()?);
        Some(Self::Erased(*hash, block))
    }
}

/// Why a row has no leaf.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Broken {
    /// A seal has none of the forms that there are.
    Seal,
    /// A field that was erased, or kept back, has a value.
    NotErased,
}

/// Appends fields.
struct Fields<'v>(&'v mut Vec<u8>);

impl Fields<'_> {
    fn length(&mut self, n: usize) {
        let n = u32::try_from(n).unwrap_or(u32::MAX - 1);
        self.0.extend_from_slice(&n.to_be_bytes());
    }

    fn null(&mut self) {
        self.0.extend_from_slice(&u32::MAX.to_be_bytes());
    }

    fn bytes(&mut self, v: &[u8]) {
        self.length(v.len());
        self.0.extend_from_slice(v);
    }

    fn opt(&mut self, v: Option<&[u8]>) {
        match v {
            Some(v) => self.bytes(v),
            None => self.null(),
        }
    }

    fn int(&mut self, v: i64) {
        self.bytes(&v.to_be_bytes());
    }

    fn opt_int(&mut self, v: Option<i64>) {
        match v {
            Some(v) => self.int(v),
            None => self.null(),
        }
    }

    fn list(&mut self, v: &[&[u8]]) {
        let inner: usize = v.iter().map(|e| e.len() + 4).sum();
        self.length(inner + 4);
        self.length(v.len());
        v.iter().for_each(|e| self.bytes(e));
    }
}

/// A role name that is part of the group "who".
#[must_use]
pub fn personal(role: &[u8]) -> bool {
    role.contains(&b'@') || role == ERASED
}

/// The personal fields of a row.
#[derive(Debug, Clone, Copy)]
pub enum Group {
    Who = 1,
    Text = 2,
}

impl Row<'_> {
    /// The hash that stands for a group of fields.
    #[must_use]
    pub fn commitment(&self, group: Group, salt: &[u8; SALT]) -> Hash {
        let mut bytes = Vec::with_capacity(256);
        let mut w = Fields(&mut bytes);
        match group {
            Group::Who => {
                w.opt(self.user_email);
                match self.client_addr {
                    None => w.null(),
                    Some(Address { ip, prefix }) => match ip {
                        IpAddr::V4(a) => w.bytes(&[&[prefix][..], &a.octets()].concat()),
                        IpAddr::V6(a) => w.bytes(&[&[prefix][..], &a.octets()].concat()),
                    },
                }
                for role in [self.role_name, self.session_user_name] {
                    w.opt(Some(role).filter(|r| personal(r)));
                }
            }
            Group::Text => {
                w.bytes(self.application_name);
                w.opt(self.statement);
                w.bytes(self.statement_sha256);
                for field in [self.object, self.agent, self.conversation, self.trace_id] {
                    w.opt(field);
                }
            }
        }
        sha256(&[&[2, VERSION, group as u8], salt, &bytes])
    }

    fn is_blank(&self, group: Group) -> bool {
        match group {
            Group::Who => {
                let blank = |role: &[u8]| !personal(role) || role == ERASED;
                self.user_email.is_none()
                    && self.client_addr.is_none()
                    && blank(self.role_name)
                    && blank(self.session_user_name)
            }
            Group::Text => {
                self.application_name.is_empty()
                    && self.statement_sha256.is_empty()
                    && [self.statement, self.object, self.agent]
                        .iter()
                        .all(Option::is_none)
                    && self.conversation.is_none()
                    && self.trace_id.is_none()
            }
        }
    }

    /// The commitment of a group, computed or, where the fields are gone, as stored.
    fn sealed(&self, group: Group, seal: &[u8]) -> Result<Hash, Broken> {
        match Seal::parse(seal).ok_or(Broken::Seal)? {
            Seal::Open(salt) => Ok(self.commitment(group, &salt)),
            Seal::Erased(hash, _) | Seal::Closed(hash) if self.is_blank(group) => Ok(hash),
            _ => Err(Broken::NotErased),
        }
    }

    /// The hash of the row.
    ///
    /// # Errors
    /// When the row cannot be one that was written, or erased, in order.
    pub fn leaf(&self) -> Result<Hash, Broken> {
        let who = self.sealed(Group::Who, self.who_seal)?;
        let text = self.sealed(Group::Text, self.text_seal)?;
        let mut record = Vec::with_capacity(768);
        record.push(VERSION);
        let mut w = Fields(&mut record);
        w.int(self.seq);
        w.bytes(&self.event_id);
        w.bytes(self.assurance);
        for role in [self.role_name, self.session_user_name] {
            w.opt(Some(role).filter(|r| !personal(r)));
        }
        w.bytes(self.database_name);
        w.int(self.backend_pid);
        w.int(self.backend_seq);
        w.bytes(self.session_id);
        w.opt_int(self.transaction_id);
        w.int(self.started_at);
        match self.duration_ms {
            Some(d) => w.bytes(&d.to_bits().to_be_bytes()),
            None => w.null(),
        }
        w.int(self.nesting_level);
        w.opt(self.command_tag);
        w.opt_int(self.query_id);
        w.list(&self.relations);
        w.list(&self.masked_columns);
        w.list(&self.functions);
        w.opt_int(self.rows_returned);
        w.opt_int(self.rows_processed);
        w.opt_int(self.bytes_returned);
        w.bytes(&[self.truncated.into()]);
        w.bytes(self.verdict);
        w.opt(self.rule);
        w.bytes(self.outcome);
        w.opt(self.sqlstate);
        w.int(self.policy_version);
        w.bytes(&who);
        w.bytes(&text);
        Ok(merkle::leaf(&record))
    }
}
