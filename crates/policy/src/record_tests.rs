use super::*;
use proptest::prelude::*;

fn sample(n: u64) -> (Start, End) {
    let start = Start {
        event_id: *b"0123456789abcdef",
        backend_seq: n,
        origin: Origin {
            user_email: Some("alice@example.com".into()),
            client_addr: Some("2001:db8::1".parse().unwrap()),
            backend_pid: 4711,
            ..Origin::default()
        }
        .into(),
        started_at: 1_700_000_000_000_000_i64.wrapping_add(n as i64),
        query_id: -(n as i64),
        statement: Some("SELECT name FROM t WHERE id = $1 -- ä".into()),
        objects: Rc::new(Objects {
            relations: vec!["public.t".into(), String::new()],
            ..Objects::default()
        }),
        verdict: Verdict::WouldDeny,
        ..Start::default()
    };
    let end = End {
        event_id: start.event_id,
        duration: n,
        outcome: Outcome::Cancelled,
        sqlstate: Some(*b"57014"),
        transaction_id: n * 2,
        masked_columns: Some(vec!["public.t.name".into()]),
        verdict: Some(Verdict::Denied),
        ..End::default()
    };
    (start, end)
}

#[test]
fn round_trip_of_a_file() {
    let mut file = Vec::new();
    for n in [0, 1, 127, 128, u64::MAX >> 1] {
        let (s, e) = sample(n);
        encode_start(&s, &mut file).unwrap();
        encode_end(&e, &mut file).unwrap();
        encode_whole(&s, &e, &mut file).unwrap();
        encode_read(&s, &mut file).unwrap();
    }
    let mut rest = &file[..];
    for n in [0, 1, 127, 128, u64::MAX >> 1] {
        let (s, e) = sample(n);
        let (s, e) = (Box::new(s), Box::new(e));
        for want in [
            Record::Start(s.clone()),
            Record::End(e.clone()),
            Record::Whole(s.clone(), e),
            Record::Read(s),
        ] {
            let Frame::Whole(payload, len) = first_frame(rest) else {
                panic!("torn")
            };
            assert_eq!(decode(payload), Some(want));
            rest = &rest[len..];
        }
    }
    assert!(rest.is_empty());
}

#[test]
fn a_torn_tail_is_partial_and_a_flipped_bit_corrupt() {
    let mut file = Vec::new();
    encode_start(&sample(5).0, &mut file).unwrap();
    for cut in 0..file.len() {
        assert!(
            matches!(first_frame(&file[..cut]), Frame::Partial(n) if n > cut),
            "{cut}"
        );
    }
    for at in 4..file.len() {
        let mut bad = file.clone();
        bad[at] ^= 1;
        assert_eq!(first_frame(&bad), Frame::Corrupt, "{at}");
    }
    assert_eq!(first_frame(&[0; 64]), Frame::Corrupt);
}

#[test]
fn too_long_is_refused_and_leaves_nothing() {
    let mut out = vec![1, 2, 3];
    let s = Start {
        statement: Some("x".repeat(MAX_PAYLOAD).into()),
        ..Start::default()
    };
    assert_eq!(encode_start(&s, &mut out), Err(TooLong));
    assert_eq!(out, [1, 2, 3]);
}

#[test]
fn the_verdict_of_what_is_too_long_is_kept() {
    let (mut s, mut e) = sample(7);
    s.object = Some("ä".repeat(MAX_PAYLOAD));
    s.rule = Some("max_rows".into());
    Rc::make_mut(&mut s.objects).functions = vec!["f".repeat(MAX_PAYLOAD)];
    e.relations = Some(vec!["r".repeat(MAX_PAYLOAD)]);
    e.object.clone_from(&s.object);
    let mut out = Vec::new();
    assert_eq!(encode_whole(&s, &e, &mut out), Err(TooLong));
    encode_whole(&s.short(), &e.short(), &mut out).unwrap();
    assert!(out.len() < 3 * MAX_OBJECT);
    let Frame::Whole(payload, _) = first_frame(&out) else {
        panic!("torn")
    };
    let Some(Record::Whole(start, end)) = decode(payload) else {
        panic!("a record")
    };
    assert_eq!((start.verdict, end.verdict), (s.verdict, e.verdict));
    assert_eq!((&start.rule, &start.statement), (&s.rule, &None));
    assert_eq!(start.statement_sha256, s.statement_sha256);
    assert_eq!((end.outcome, end.sqlstate), (e.outcome, e.sqlstate));
    for object in [&start.object, &end.object] {
        assert!(object.as_ref().is_some_and(|o| o.ends_with("ä…")));
    }
}

#[test]
fn long_texts_are_cut_between_characters() {
    for (text, most, want) in [
        ("", 0, ""),
        ("abcd", 4, "abcd"),
        ("abcde", 4, "a…"),
        ("äää", 5, "ä…"),
        ("äää", 6, "äää"),
        ("表表", 5, "…"),
        ("abcde", 2, "…"),
    ] {
        assert_eq!(at_most(text, most), want);
        assert_eq!(at_most(text.to_owned(), most), want);
    }
}

#[test]
fn text_of_any_encoding() {
    assert_eq!(to_text("Grüße \\ 'x'".as_bytes()), "Grüße \\ 'x'");
    assert_eq!(to_text(b"caf\xe9 \\ \0"), "caf\\xE9 \\\\ \\x00");
}

proptest! {
    #[test]
    fn no_bytes_make_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..600)) {
        let _ = first_frame(&bytes);
        let _ = decode(&bytes);
        for kind in [KIND_START, KIND_END, KIND_WHOLE] {
            let mut b = vec![VERSION, kind];
            b.extend_from_slice(&bytes);
            let _ = decode(&b);
        }
        prop_assert!(!to_text(&bytes).contains('\0'));
    }

    #[test]
    fn a_damaged_record_never_panics(n in any::<u64>(), at in any::<prop::sample::Index>(), with in any::<u8>()) {
        let (s, e) = sample(n >> 1);
        let mut file = Vec::new();
        encode_whole(&s, &e, &mut file).unwrap();
        let mut payload = file[FRAME_HEADER..].to_vec();
        let at = at.index(payload.len());
        payload[at] = with;
        let _ = decode(&payload);
        let _ = decode(&payload[..at]);
    }

    #[test]
    fn a_session_is_decoded_as_its_records_are(ns in prop::collection::vec((0..4_u64, 0..3_usize, 0..3_usize), 0..20)) {
        let mut decoder = Decoder::default();
        for (n, statement, relations) in ns {
            let (mut s, e) = sample(n);
            s.statement = [None, Some("SELECT $1".into()), Some("SELECT $1 + $2".into())][statement].clone();
            Rc::make_mut(&mut s.objects).relations = vec!["shop.orders".into(); relations];
            s.command_tag = [None, Some("SELECT".into()), Some("SELECTED".into())][relations].clone();
            let mut file = Vec::new();
            encode_whole(&s, &e, &mut file).unwrap();
            let Frame::Whole(payload, _) = first_frame(&file) else { panic!("torn") };
            prop_assert_eq!(decoder.decode(payload), decode(payload));
            prop_assert_eq!(decode(payload), Some(Record::Whole(Box::new(s), Box::new(e))));
        }
    }

    #[test]
    fn any_strings_survive(list in prop::collection::vec("[^\0]{0,20}", 0..5), text in proptest::option::of("[^\0]{0,200}")) {
        let objects = Objects { relations: list.clone(), functions: list, ..Objects::default() };
        let s = Start { objects: Rc::new(objects), statement: text.clone().map(Rc::from), rule: text, ..Start::default() };
        let mut file = Vec::new();
        encode_start(&s, &mut file).unwrap();
        let Frame::Whole(payload, len) = first_frame(&file) else { panic!("torn") };
        prop_assert_eq!(len, file.len());
        prop_assert_eq!(decode(payload), Some(Record::Start(Box::new(s))));
    }
}
