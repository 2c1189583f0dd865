//! Files that are damaged, made to do harm, or not supported: each is an error that says why.

use oscar_files::pytorch::pickle::{self, Limits, Problem};
use oscar_files::pytorch::{ReadError, Value};
use rstest::rstest;

use crate::pytorch_support;
use pytorch_support::{TensorOf, archive, error_of, fixture, integer, legacy, open, patched, text};

fn problem(bytes: &[u8]) -> Problem {
    pickle::parse(bytes.to_vec(), &Limits::default())
        .expect_err("an error")
        .problem
}

/// `os.system("touch FILE")` in the ways a pickle can say it.
fn malicious(file: &str) -> Vec<(&'static str, Vec<u8>)> {
    let command = text(&format!("touch {file}"));
    let call = |start: &[u8], end: &[u8]| [start, &command, end].concat();
    vec![
        ("posix.system", call(b"\x80\x02cposix\nsystem\n", b"\x85R.")),
        ("os.system", call(b"cos\nsystem\n(", b"tR.")),
        (
            "nt.system",
            call(b"\x80\x04\x8c\x02nt\x8c\x06system\x93", b"\x85R."),
        ),
        ("os.system", call(b"(", b"ios\nsystem\n.")),
        ("subprocess.Popen", call(b"(csubprocess\nPopen\n", b"o.")),
        (
            "builtins.eval",
            call(b"\x80\x02cbuiltins\neval\n", b"\x85\x81."),
        ),
        (
            "__builtin__.getattr",
            call(b"c__builtin__\ngetattr\n", b"\x85R."),
        ),
        (
            "torch.serialization.load",
            call(b"ctorch.serialization\nload\n", b"\x85R."),
        ),
        // The attribute of a module that is allowed.
        (
            "torch.os.system",
            call(b"\x80\x04\x8c\x05torch\x8c\x09os.system\x93", b"\x85R."),
        ),
    ]
}

#[test]
fn classes_outside_the_list_are_refused_by_name_and_never_executed() {
    let folder = tempfile::tempdir().unwrap();
    let proof = folder.path().join("executed");
    for (class, bytes) in malicious(proof.to_str().unwrap()) {
        let whole = archive(&[("archive/data.pkl", false, &bytes)]);
        for bytes in [bytes, whole] {
            let error = error_of(bytes);
            assert!(error.contains(&format!("call {class}, ")), "{error}");
            assert!(error.contains("it was not executed"), "{error}");
            assert!(error.contains("at byte "), "{error}");
        }
    }
    assert!(!proof.exists());
}

#[test]
fn values_that_contain_themselves_are_refused() {
    let list = b"\x80\x02]q\x00h\x00a.".as_slice();
    let me = text("me");
    let dict = [b"\x80\x02}q\x00", me.as_slice(), b"h\x00s."].concat();
    let tuple = b"\x80\x02]q\x00h\x00\x85a.".as_slice();
    let object = [
        b"\x80\x02cargparse\nNamespace\n)\x81q\x00}",
        me.as_slice(),
        b"h\x00sb.",
    ];
    for bytes in [list, &dict, tuple, &object.concat()] {
        assert_eq!(problem(bytes), Problem::Recursive);
    }
}

#[test]
fn a_list_that_doubles_itself_is_refused() {
    // Each level holds the level below twice: 2^100 values in 400 bytes.
    let mut bytes = b"\x80\x02]q\x00".to_vec();
    for level in 1u8..100 {
        let below = level - 1;
        bytes.extend([b']', b'q', level, b'(', b'h', below, b'h', below, b'e']);
    }
    bytes.push(b'.');
    let problem = problem(&bytes);
    assert!(matches!(problem, Problem::Limit { .. }), "{problem}");
}

#[rstest]
#[case(b"]", b"a")]
#[case(b"", b"\x85")]
#[case(b"}K\x00", b"s")]
fn depth_costs_no_stack(#[case] open: &[u8], #[case] close: &[u8]) {
    let depth = 1_000_000;
    let bytes = [
        &b"\x80\x02"[..],
        &open.repeat(depth),
        b")",
        &close.repeat(depth),
        b".",
    ]
    .concat();
    // The depth, not the memory, is what is tested.
    let limits = Limits {
        memory_factor: 1000,
        ..Limits::default()
    };
    let problem = pickle::parse(bytes.clone(), &limits).unwrap_err().problem;
    assert!(
        matches!(
            problem,
            Problem::Limit {
                what: "values nested too deep",
                ..
            }
        ),
        "{problem}"
    );
    // What is thrown away may be as deep.
    let bytes = [&bytes[..bytes.len() - 1], b"0N."].concat();
    assert!(matches!(pickle::parse(bytes, &limits), Ok(Value::None)));
}

#[rstest]
#[case::long4(b"\x8b\xff\xff\xff\x7f")]
#[case::text(b"X\xff\xff\xff\xff")]
#[case::text8(b"\x8d\xff\xff\xff\xff\xff\xff\xff\xff")]
#[case::bytes8(b"\x8e\x00\x00\x00\x00\x00\x00\x00\x40")]
#[case::bytearray8(b"\x96\xff\xff\xff\xff\xff\xff\xff\x7f")]
#[case::frame(b"\x95\xff\xff\xff\xff\xff\xff\xff\x7f")]
#[case::old_text(b"T\xff\xff\xff\x7f")]
#[case::line(b"V never ends")]
#[case::nothing(b"")]
fn lengths_beyond_the_end_are_noticed(#[case] bytes: &[u8]) {
    let problem = problem(bytes);
    assert!(matches!(problem, Problem::Truncated { .. }), "{problem}");
}

#[rstest]
#[case::negative(b"T\xff\xff\xff\xff")]
#[case::memo(b"Nr\xff\xff\xff\xff.")]
#[case::memo_line(b"Np18446744073709551615\n.")]
#[case::never_put(b"h\x07.")]
#[case::no_mark(b"t.")]
#[case::below_mark(b"N(R.")]
#[case::no_value(b"}(Nu.")]
#[case::append_to_dict(b"}Na.")]
#[case::call_of_number(b"K\x01)R.")]
#[case::stop_at_once(b".")]
fn instructions_that_do_not_fit_are_noticed(#[case] bytes: &[u8]) {
    let problem = problem(bytes);
    assert!(matches!(problem, Problem::Malformed { .. }), "{problem}");
}

#[test]
fn copies_are_bounded() {
    // A list of a thousand values, copied a thousand times by two bytes each.
    let mut bytes = b"\x80\x02(".to_vec();
    bytes.extend([b'N'; 1000]);
    bytes.extend(b"l\x85q\x00c__builtin__\nset\nq\x01(");
    bytes.extend(b"h\x01h\x00R".repeat(1000));
    bytes.extend(b"l.");
    let problem = problem(&bytes);
    assert!(matches!(problem, Problem::Limit { .. }), "{problem}");
}

#[test]
fn files_cut_short_are_refused_wherever_they_end() {
    for name in [
        "tensors.pt",
        "tensors_legacy.pt",
        "nested.pt",
        "structures_4.pkl",
    ] {
        let whole = fixture(name);
        assert!(open(whole.clone()).is_ok());
        for length in 0..whole.len() {
            let error = error_of(&whole[..length]);
            assert!(!error.is_empty(), "{name} cut to {length}");
        }
    }
    let whole = fixture("tensors.pt");
    let error = error_of(&whole[..whole.len() / 2]);
    assert!(error.contains("the zip archive is cut short"), "{error}");
    let whole = fixture("tensors_legacy.pt");
    let error = error_of(&whole[..whole.len() - 1]);
    assert!(error.contains("it is cut short at storage"), "{error}");
}

const PLAIN: TensorOf<'_> = TensorOf {
    key: "0",
    elements: 6,
    offset: 0,
    shape: &[2, 3],
    strides: &[3, 1],
};

/// An archive whose one storage has `bytes`.
fn with_storage(tensor: &TensorOf<'_>, bytes: &[u8]) -> Vec<u8> {
    let pickle = tensor.pickle();
    archive(&[
        ("archive/data.pkl", false, &pickle),
        ("archive/data/0", false, bytes),
    ])
}

#[test]
fn a_tensor_without_its_storage_is_named() {
    assert!(open(with_storage(&PLAIN, &[0; 24])).is_ok());
    let missing = archive(&[("archive/data.pkl", false, &PLAIN.pickle())]);
    let error = error_of(missing);
    assert!(error.contains("tensor bert.weight"), "{error}");
    assert!(error.contains(r#"no member "archive/data/0""#), "{error}");

    let error = error_of(with_storage(&PLAIN, &[0; 23]));
    assert!(error.contains("tensor bert.weight"), "{error}");
    assert!(
        error.contains("has 23 bytes in the archive, 24 are declared"),
        "{error}"
    );

    // A pickle alone has no storages.
    let error = error_of(PLAIN.pickle());
    assert!(
        error.contains("tensor bert.weight: this is a pickle alone"),
        "{error}"
    );
}

#[rstest]
#[case::shape(TensorOf { shape: &[3, 3], ..PLAIN })]
#[case::offset(TensorOf { offset: 1, ..PLAIN })]
#[case::negative_offset(TensorOf { offset: -1, ..PLAIN })]
#[case::negative_size(TensorOf { shape: &[2, -3], ..PLAIN })]
#[case::negative_stride(TensorOf { strides: &[3, -1], ..PLAIN })]
#[case::stride(TensorOf { strides: &[4, 1], ..PLAIN })]
#[case::ranks(TensorOf { strides: &[1], ..PLAIN })]
#[case::product(TensorOf { shape: &[1 << 40, 1 << 40], strides: &[0, 0], ..PLAIN })]
#[case::bytes(TensorOf { shape: &[1 << 62], strides: &[0], ..PLAIN })]
#[case::stride_product(TensorOf { shape: &[2, 3], strides: &[i64::MAX, i64::MAX], ..PLAIN })]
#[case::offset_sum(TensorOf { offset: i64::MAX, ..PLAIN })]
#[case::repeated(TensorOf { shape: &[1 << 20, 1 << 10], strides: &[0, 0], ..PLAIN })]
#[case::many_axes(TensorOf { shape: &[1; 65], strides: &[1; 65], ..PLAIN })]
fn views_outside_their_storage_are_refused(#[case] tensor: TensorOf<'_>) {
    let error = error_of(with_storage(&tensor, &[0; 24]));
    assert!(error.contains("tensor bert.weight: "), "{error}");
}

#[rstest]
#[case(-1)]
#[case(i64::MAX)]
fn a_storage_of_an_impossible_size_is_refused(#[case] elements: i64) {
    let tensor = TensorOf { elements, ..PLAIN };
    let error = error_of(with_storage(&tensor, &[0; 24]));
    assert!(
        error.contains(&format!("a storage of {elements} elements")),
        "{error}"
    );
}

#[test]
fn compressed_members_are_refused_unread() {
    // A hundred megabytes of zeros in a hundred kilobytes.
    let zeros = vec![0; 100 << 20];
    let tensor = TensorOf {
        elements: 25 << 20,
        shape: &[25 << 20],
        strides: &[1],
        ..PLAIN
    };
    let bomb = archive(&[
        ("archive/data.pkl", false, &tensor.pickle()),
        ("archive/data/0", true, &zeros),
    ]);
    assert!(bomb.len() < 1 << 20);
    let error = error_of(bomb);
    assert!(error.contains("tensor bert.weight"), "{error}");
    assert!(
        error.contains(r#"member "archive/data/0" is compressed"#),
        "{error}"
    );

    let error = error_of(archive(&[("archive/data.pkl", true, &zeros)]));
    assert!(
        error.contains(r#"member "archive/data.pkl" is compressed"#),
        "{error}"
    );
}

#[test]
fn archives_that_lie_are_refused() {
    let sound = with_storage(&PLAIN, &[7; 24]);
    let pickle = PLAIN.pickle();

    let other = archive(&[
        ("archive/data.pkl", false, &pickle),
        ("archive/data/0", false, &[0; 24]),
        ("archive/data/1", false, &[1; 24]),
    ]);
    let error = error_of(patched(&other, b"archive/data/1", b"archive/data/0"));
    assert!(
        error.contains(r#""archive/data/0" is there twice"#),
        "{error}"
    );

    let error = error_of(archive(&[
        ("a/data.pkl", false, &pickle),
        ("b/data.pkl", false, &pickle),
    ]));
    assert!(error.contains("more than one data.pkl"), "{error}");
    let error = error_of(archive(&[("word/document.xml", false, b"<w/>")]));
    assert!(error.contains("no data.pkl"), "{error}");

    // In the directory: flags at byte 8 of an entry, the place of the member at byte 42.
    let entry = sound
        .windows(4)
        .rposition(|bytes| bytes == b"PK\x01\x02")
        .unwrap();
    let edited = |at: usize, value: &[u8]| {
        let mut bytes = sound.clone();
        bytes[entry + at..entry + at + value.len()].copy_from_slice(value);
        bytes
    };
    let error = error_of(edited(8, &[1]));
    assert!(error.contains("is encrypted"), "{error}");
    let error = error_of(edited(42, &10u32.to_le_bytes()));
    assert!(error.contains("overlap"), "{error}");
    let error = error_of(edited(42, &(1u32 << 30).to_le_bytes()));
    assert!(error.contains("reaches beyond the file"), "{error}");
    let error = error_of(edited(24, &(1u32 << 30).to_le_bytes()));
    assert!(error.contains("is compressed"), "sizes differ: {error}");
    // More entries than there are.
    let mut more = sound.clone();
    let end = more.len() - 22;
    more[end + 10..end + 12].copy_from_slice(&u16::MAX.to_le_bytes());
    let error = error_of(more);
    assert!(
        error.contains("directory of the zip archive is damaged"),
        "{error}"
    );
}

#[test]
fn damage_inside_a_storage_is_noticed_when_it_is_read() {
    let sound = with_storage(&PLAIN, &[7; 24]);
    let damaged = patched(&sound, &[7; 24], &[[7; 23].as_slice(), &[8]].concat());
    let file = open(damaged).unwrap();
    let tensor = file.value().as_dict().unwrap().get("bert.weight").unwrap();
    let error = tensor.as_tensor().unwrap().to_f32().unwrap_err();
    let ReadError::Damaged { reason } = error else {
        panic!("{error}")
    };
    assert!(reason.contains("checksum"), "{reason}");
    assert!(reason.contains("archive/data/0"), "{reason}");
}

#[test]
fn the_other_order_of_bytes_is_refused() {
    let zip = archive(&[
        ("archive/data.pkl", false, &PLAIN.pickle()),
        ("archive/byteorder", false, b"big"),
        ("archive/data/0", false, &[0; 24]),
    ]);
    let legacy = legacy(&PLAIN, false, 6, &[0; 24]);
    for bytes in [zip, legacy] {
        let error = error_of(bytes);
        assert!(error.contains("most significant byte first"), "{error}");
    }
}

#[test]
fn storages_of_the_older_format_must_fit_too() {
    assert!(open(legacy(&PLAIN, true, 6, &[0; 24])).is_ok());
    let error = error_of(legacy(&PLAIN, true, 5, &[0; 24]));
    assert!(
        error.contains("has 5 elements of 4 bytes, its tensors say 24 bytes"),
        "{error}"
    );
    let error = error_of(legacy(&PLAIN, true, u64::MAX, &[0; 24]));
    assert!(error.contains("18446744073709551615 elements"), "{error}");
    let error = error_of(legacy(&PLAIN, true, 6, &[0; 23]));
    assert!(error.contains(r#"cut short at storage "0""#), "{error}");
    let other = TensorOf { key: "7", ..PLAIN };
    let error = error_of(legacy(&other, true, 6, &[0; 24]));
    assert!(
        error.contains(r#"storage "0" belongs to no tensor"#),
        "{error}"
    );
}

#[test]
fn what_is_not_supported_says_so() {
    for (bytes, part) in [
        (b"\x80\x06N.".to_vec(), "pickle protocol 6"),
        (b"\x80\x02\x82\x01.".to_vec(), "extensions"),
        (b"\x80\x05\x97.".to_vec(), "buffers"),
        (b"Pid\n.".to_vec(), "persistent id"),
        (
            b"\x80\x02ctorch.storage\n_load_from_bytes\n)R.".to_vec(),
            "torch.storage._load_from_bytes called with 0 arguments",
        ),
        (b"\x80\x02X\x01\x00\x00\x00\xff.".to_vec(), "not UTF-8"),
        (b"zzz".to_vec(), "not a pickle opcode"),
        (integer(3), "cut short"),
    ] {
        let error = error_of(bytes);
        assert!(error.contains(part), "{error}");
    }
}

#[test]
fn limits_are_the_callers() {
    let bytes = b"\x80\x02]]]aa.".to_vec();
    assert!(pickle::parse(bytes.clone(), &Limits::default()).is_ok());
    for limits in [
        Limits {
            max_depth: 2,
            ..Limits::default()
        },
        Limits {
            max_values: 2,
            ..Limits::default()
        },
    ] {
        let error = pickle::parse(bytes.clone(), &limits).unwrap_err();
        assert!(
            matches!(error.problem, Problem::Limit { limit: 2, .. }),
            "{error}"
        );
    }
}

/// A program of `count` copies of `opcode` in a list.
fn repeated(opcode: &[u8], count: usize) -> Vec<u8> {
    [b"\x80\x02(".as_slice(), &opcode.repeat(count), b"l."].concat()
}

#[rstest]
#[case::dictionaries(b"}")]
#[case::lists(b"]")]
#[case::tuples(b")")]
#[case::sets(b"\x8f")]
#[case::nones(b"N")]
#[case::marks(b"(")]
#[case::memo(b"\x94")]
#[case::entries(b"}(NNu")]
fn what_builds_far_more_than_its_size_is_refused(#[case] opcode: &[u8]) {
    let bytes = match opcode {
        b"(" => repeated(opcode, 4 << 20),
        // The memo takes the value at the top.
        b"\x94" => [b"\x80\x04N".as_slice(), &opcode.repeat(4 << 20), b"."].concat(),
        _ => repeated(opcode, (4 << 20) / opcode.len()),
    };
    let limits = Limits {
        memory_factor: 1,
        ..Limits::default()
    };
    let error = pickle::parse(bytes, &limits).unwrap_err();
    assert!(
        matches!(error.problem, Problem::Memory(over) if over.factor == 1),
        "{error}"
    );
}

#[test]
fn what_data_sets_hold_is_within_the_budget() {
    // A question with its soft targets, as the answers of VQA are published: 42 bytes of protocol 4.
    let mut bytes = b"\x80\x04(".to_vec();
    let keys = ["question_id", "image_id", "labels", "scores"];
    for key in keys {
        bytes.push(0x8c);
        bytes.push(key.len() as u8);
        bytes.extend(key.as_bytes());
        bytes.extend(b"\x940");
    }
    for _ in 0..200_000 {
        bytes.extend(b"}\x94(h\0J\x01\x02\x03\x04h\x01J\x01\x02\x03\x04");
        bytes.extend(b"h\x02]\x94K\x05ah\x03]\x94G\x3f\xf0\0\0\0\0\0\0au");
    }
    bytes.extend(b"l.");
    let value = pickle::parse(bytes, &Limits::default()).unwrap();
    let rows = value.as_slice().unwrap();
    assert_eq!(rows.len(), 200_000);
    let last = rows[199_999].as_dict().unwrap();
    assert_eq!(
        last.get("image_id").and_then(Value::as_i64),
        Some(0x0403_0201)
    );
    // Small integers, the densest values that data have, a thousand at a time as Python writes them.
    let thousand = [b"(".as_slice(), &b"K\x01".repeat(1000), b"e"].concat();
    let bytes = [b"\x80\x04]\x94".as_slice(), &thousand.repeat(8000), b"."].concat();
    let value = pickle::parse(bytes, &Limits::default()).unwrap();
    assert_eq!(value.as_slice().unwrap().len(), 8_000_000);
}
