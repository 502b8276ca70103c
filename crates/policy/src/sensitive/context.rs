//! Context words: what a number is said to be, a few words before it.

use super::cursor::{Text, is_word};

/// What a word says of what follows.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Topic {
    TaxNumber,
    Card,
    Routing,
    Phone,
    Nino,
    Nhs,
    Aadhaar,
    Pan,
    Pesel,
    Passport,
    Birth,
    Version,
    /// Something other than a person's number: an order, an invoice, a part.
    Thing,
    Secret,
}

const TOPICS: usize = 14;

/// How many bytes a context word reaches forward.
const REACH: usize = 48;
/// How many bytes after a number a context word may follow.
const LOOK_AHEAD: usize = 28;

/// Where each topic was last spoken of: the end of its word.
#[derive(Default)]
pub struct Context {
    last: [usize; TOPICS],
}

impl Context {
    /// Notes what the word at `place` says. True where it names a secret.
    pub fn read(&mut self, text: &Text<'_>, place: usize) -> bool {
        let mut secret = false;
        for_each_part(text, place, |word, end| {
            if let Some(topic) = topic(word) {
                secret |= topic == Topic::Secret;
                if let Some(last) = self.last.get_mut(topic as usize) {
                    *last = end;
                }
            }
        });
        secret
    }

    /// Was the topic spoken of shortly before `place`, and nothing else since?
    pub fn before(&self, topic: Topic, place: usize) -> bool {
        let last = self.last.get(topic as usize).copied().unwrap_or(0);
        let thing = self.last.get(Topic::Thing as usize).copied().unwrap_or(0);
        last > 0 && last >= thing && place >= last && place - last <= REACH
    }

    /// Was the topic spoken of shortly before `start` or is it shortly after `end`?
    pub fn near(&self, topic: Topic, text: &Text<'_>, start: usize, end: usize) -> bool {
        self.before(topic, start) || follows(topic, text, end)
    }
}

fn follows(wanted: Topic, text: &Text<'_>, end: usize) -> bool {
    let stop = text.len().min(end + LOOK_AHEAD);
    let mut place = end;
    while place < stop {
        if matches!(text.at(place), b'\n' | b'{' | b'}' | b';' | b'"' | b'|') {
            return false;
        }
        if is_word(text.at(place)) {
            let mut found = false;
            for_each_part(text, place, |word, _| found |= topic(word) == Some(wanted));
            if found {
                // `…, phone: …` speaks of what comes next.
                let next = text.end_of_word(place);
                return !matches!(text.at(next), b':' | b'=' | b'#');
            }
            place = text.end_of_word(place);
        } else {
            place += 1;
        }
    }
    false
}

const LONGEST: usize = 14;

/// The parts of a word: camelCase is several, as snake_case is several words. In lower case.
fn for_each_part(text: &Text<'_>, place: usize, mut part: impl FnMut(&[u8], usize)) {
    let mut word = [0_u8; LONGEST];
    let mut length = 0;
    let mut at = place;
    let end = text.end_of_word(place).min(place + 64);
    while at < end {
        let byte = text.at(at);
        let new_part = byte.is_ascii_uppercase() && text.before(at).is_ascii_lowercase();
        if new_part && at > place {
            part(word.get(..length).unwrap_or_default(), at);
            length = 0;
        }
        if let Some(slot) = word.get_mut(length) {
            *slot = byte.to_ascii_lowercase();
        }
        // A longer word is no context word: its length says so.
        length += 1;
        at += 1;
    }
    part(word.get(..length).unwrap_or_default(), at);
}

fn topic(word: &[u8]) -> Option<Topic> {
    Some(match word {
        b"ssn" | b"ssns" | b"itin" | b"tin" | b"social" | b"taxpayer" => Topic::TaxNumber,
        b"card" | b"cards" | b"visa" | b"mastercard" | b"amex" | b"cc" | b"creditcard"
        | b"ccnum" | b"kreditkarte" | b"carte" | b"tarjeta" | b"maestro" | b"diners" | b"jcb"
        | b"discover" | b"unionpay" | b"debit" => Topic::Card,
        b"routing" | b"aba" | b"rtn" | b"ach" => Topic::Routing,
        b"phone"
        | b"phones"
        | b"telephone"
        | b"tel"
        | b"mobile"
        | b"cell"
        | b"cellphone"
        | b"fax"
        | b"call"
        | b"called"
        | b"callback"
        | b"sms"
        | b"whatsapp"
        | b"ring"
        | b"dial"
        | b"reach"
        | b"telefon"
        | b"handy"
        | b"mobil"
        | b"telefono"
        | b"phonenumber"
        | b"hotline"
        | b"text"
        | b"contact"
        | b"t\xc3\xa9l"
        | b"t\xc3\xa9l\xc3\xa9phone" => Topic::Phone,
        b"nino" | b"insurance" | b"ni" => Topic::Nino,
        b"nhs" => Topic::Nhs,
        b"aadhaar" | b"aadhar" | b"uidai" => Topic::Aadhaar,
        b"pan" | b"permanent" => Topic::Pan,
        b"pesel" => Topic::Pesel,
        b"passport" | b"passports" | b"reisepass" | b"passeport" | b"pasaporte" => Topic::Passport,
        b"dob" | b"born" | b"birth" | b"birthday" | b"birthdate" | b"dateofbirth" | b"geboren"
        | b"geburtsdatum" | b"bday" => Topic::Birth,
        b"version" | b"versions" | b"ver" | b"release" | b"build" | b"firmware" | b"upgrade"
        | b"upgraded" | b"driver" | b"rev" | b"assembly" => Topic::Version,
        b"order" | b"orders" | b"invoice" | b"ticket" | b"sku" | b"isbn" | b"ean" | b"upc"
        | b"serial" | b"tracking" | b"shipment" | b"batch" | b"lot" | b"part" | b"commit"
        | b"epoch" | b"timestamp" | b"elapsed" | b"price" | b"total" | b"rows" => Topic::Thing,
        b"password" | b"passwords" | b"passwd" | b"pwd" | b"passphrase" | b"passcode"
        | b"secret" | b"token" | b"apikey" | b"key" | b"credential" | b"credentials"
        | b"bearer" | b"auth" | b"authorization" | b"pgpassword" | b"sshpass" | b"passwort"
        | b"kennwort" => Topic::Secret,
        _ => return None,
    })
}
