//! What TensorBoard reads of a run is what its log says.

use crate::support;

use std::collections::BTreeMap;
use std::fs;

use serde_json::Value;
use support::{Workplace, stderr};

/// What an event says.
#[derive(Default)]
struct Event {
    time: f64,
    step: u64,
    version: Option<String>,
    starts: bool,
    scalars: Vec<(String, f32)>,
}

/// The events of a file, by the description of the format; its checksums are checked bit by bit.
fn events(mut bytes: &[u8]) -> Vec<Event> {
    let mut events = Vec::new();
    while !bytes.is_empty() {
        let (length, rest) = bytes.split_at(8);
        let (sum, rest) = rest.split_at(4);
        assert_eq!(sum, masked(length).to_le_bytes());
        let length = u64::from_le_bytes(length.try_into().expect("8 bytes"));
        let (data, rest) = rest.split_at(length as usize);
        let (sum, rest) = rest.split_at(4);
        assert_eq!(sum, masked(data).to_le_bytes());
        events.push(event(data));
        bytes = rest;
    }
    events
}

fn masked(bytes: &[u8]) -> u32 {
    let mut crc = u32::MAX;
    for byte in bytes {
        crc ^= u32::from(*byte);
        for _ in 0..8 {
            crc = crc >> 1 ^ if crc & 1 == 1 { 0x82f6_3b78 } else { 0 };
        }
    }
    (!crc).rotate_right(15).wrapping_add(0xa282_ead8)
}

fn event(data: &[u8]) -> Event {
    let mut event = Event::default();
    for (number, value) in fields(data) {
        match number {
            1 => event.time = f64::from_le_bytes(value.try_into().expect("8 bytes")),
            2 => event.step = varint(&mut &*value),
            3 => event.version = Some(String::from_utf8(value).expect("text")),
            5 => {
                event.scalars = fields(&value)
                    .into_iter()
                    .map(|(_, v)| scalar(&v))
                    .collect()
            }
            7 => event.starts = fields(&value) == [(1, vec![1])],
            other => panic!("field {other}"),
        }
    }
    event
}

fn scalar(data: &[u8]) -> (String, f32) {
    let [(1, name), (2, value)] = &fields(data)[..] else {
        panic!("no scalar: {data:?}");
    };
    let value = f32::from_le_bytes(value[..].try_into().expect("4 bytes"));
    (String::from_utf8(name.clone()).expect("text"), value)
}

/// Numbers and bytes of the fields.
fn fields(mut data: &[u8]) -> Vec<(u64, Vec<u8>)> {
    let mut fields = Vec::new();
    while !data.is_empty() {
        let key = varint(&mut data);
        let length = match key & 7 {
            0 => data.iter().take_while(|byte| **byte >= 0x80).count() + 1,
            1 => 8,
            2 => varint(&mut data) as usize,
            5 => 4,
            other => panic!("form {other}"),
        };
        let (value, rest) = data.split_at(length);
        fields.push((key >> 3, value.to_vec()));
        data = rest;
    }
    fields
}

fn varint(data: &mut &[u8]) -> u64 {
    let mut value = 0;
    for shift in (0..64).step_by(7) {
        let (byte, rest) = data.split_first().expect("a byte");
        *data = rest;
        value |= u64::from(byte & 0x7f) << shift;
        if *byte < 0x80 {
            break;
        }
    }
    value
}

#[test]
fn tensorboard_reads_every_step_once_also_after_a_resume() {
    let place = Workplace::small();
    let output = place.train("run", &["--set", "train.steps=12"]);
    assert!(output.status.success(), "{}", stderr(&output));
    // As a kill after step 12 leaves it: steps 11 and 12 are done again.
    let run = place.path("runs/run");
    fs::remove_dir_all(run.join("checkpoint/step-00000012")).expect("a checkpoint");
    let resumed = place.run(&["train", "--name", "run", "--resume"]);
    assert!(resumed.status.success(), "{}", stderr(&resumed));

    let mut files: Vec<_> = fs::read_dir(&run)
        .expect("a run")
        .map(|entry| entry.expect("an entry").path())
        .filter(|path| path.to_string_lossy().contains("tfevents"))
        .collect();
    files.sort();
    assert_eq!(files.len(), 2, "one for each start: {files:?}");

    // As readers do: in the order of their names, what starts voids what lies after it.
    let mut read: BTreeMap<(u64, String), f32> = BTreeMap::new();
    let mut twice = 0;
    for file in &files {
        let events = events(&fs::read(file).expect("a file"));
        assert_eq!(events[0].version.as_deref(), Some("brain.Event:2"));
        assert!(events[1].starts);
        for event in events {
            assert!(event.time > 1.6e9, "seconds since 1970");
            if event.starts {
                let before = read.len();
                read.retain(|(step, _), _| *step < event.step);
                twice += before - read.len();
            }
            for (name, value) in event.scalars {
                let again = read.insert((event.step, name.clone()), value);
                assert_eq!(again, None, "{name} of step {}", event.step);
            }
        }
    }
    assert!(twice > 0, "no step was done again");

    let log = fs::read_to_string(run.join("metrics.jsonl")).expect("a log");
    let mut logged = BTreeMap::new();
    for line in log.lines() {
        let line: Value = serde_json::from_str(line).expect("JSON");
        let step = line["step"].as_u64().expect("a step");
        let split = line["split"].as_str().expect("a split").to_string();
        for (name, value) in line.as_object().expect("a table") {
            if let Some(value) = value.as_f64().filter(|_| name != "step") {
                logged.insert((step, format!("{split}/{name}")), value as f32);
            }
        }
    }
    assert!(logged.contains_key(&(12, "train/Loss".into())));
    assert!(logged.contains_key(&(12, "valid/Loss".into())));
    assert_eq!(read, logged);
}
