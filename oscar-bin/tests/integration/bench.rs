//! `bench`: every work gives a whole document, and wrong flags are refused by name.

use crate::support;

use rstest::rstest;
use serde_json::Value;
use support::{Workplace, assert_fails, stdout};

/// One quick measurement.
fn bench(more: &[&str]) -> Value {
    document(&[&["--preset", "tiny", "--steps", "2"], more].concat())
}

/// The document of a measurement.
fn document(flags: &[&str]) -> Value {
    let place = Workplace::new();
    let output = place.run(&[&["bench", "--json"], flags].concat());
    assert!(output.status.success(), "{output:?}");
    serde_json::from_str(&stdout(&output)).expect("one JSON document")
}

fn number(value: &Value, key: &str) -> f64 {
    value[key]
        .as_f64()
        .unwrap_or_else(|| panic!("{key} is no number in {value}"))
}

#[test]
fn search_is_measured_by_itself() {
    let document = document(&["--work", "search", "--pictures", "30,5000"]);
    let results = document["results"].as_array().expect("a list");
    let pictures: Vec<_> = results.iter().map(|one| one["pictures"].as_u64()).collect();
    assert_eq!(pictures, [Some(30), Some(5000)]);
    for result in results {
        let bytes = number(result, "bytes");
        assert!(bytes > 512.0 * number(result, "pictures"), "{result}");
        assert!(number(result, "query_p95_seconds") >= number(result, "query_p50_seconds"));
        for key in ["written_per_s", "open_seconds", "together_seconds"] {
            assert!(number(result, key) > 0.0, "{key}: {result}");
        }
    }
    let place = Workplace::new();
    let both = place.run(&["bench", "--work", "search,vqa"]);
    assert_fails(&both, &["--work search"]);
    let none = place.run(&["bench", "--work", "search", "--pictures", "0"]);
    assert_fails(&none, &["--pictures"]);
}

#[rstest]
#[case("pretrain", 3, true)]
#[case("vqa", 3, true)]
// Four images, each with the captions of all: of 3 pairs at once one caption each.
#[case("retrieval", 16, false)]
#[case("caption", 3, false)]
fn each_work_gives_a_document(
    #[case] work: &str,
    #[case] samples: u64,
    #[case] trains: bool,
    #[values("fixed", "real")] lengths: &str,
) {
    let document = bench(&["--work", work, "--batch-size", "3", "--lengths", lengths]);
    assert!(document["device"].is_string());
    let results = document["results"].as_array().expect("a list");
    assert_eq!(results.len(), 1);
    let result = &results[0];
    assert_eq!(result["work"], work);
    assert_eq!(result["preset"], "tiny");
    assert_eq!(result["backend"], "flex");
    assert_eq!(result["dtype"], "f32");
    assert_eq!(result["batch_size"], 3);
    assert_eq!(
        result["step_samples"],
        serde_json::json!([samples, samples])
    );
    for key in ["step_seconds", "step_tokens", "step_flops"] {
        let list = result[key].as_array().expect("a list");
        assert_eq!(list.len(), 2, "{key}");
        assert!(list.iter().all(|value| value.as_f64() > Some(0.0)), "{key}");
    }
    for key in [
        "samples_per_s",
        "tokens_per_s",
        "flops_per_s",
        "share_of_peak",
        "peak_flops_per_s",
    ] {
        assert!(number(result, key) > 0.0, "{key}");
    }
    let peak = number(result, "share_of_peak") * number(result, "peak_flops_per_s");
    assert!((peak / number(result, "flops_per_s") - 1.0).abs() < 1e-9);
    let padding = number(result, "padding_share");
    match lengths {
        "fixed" => assert_eq!(padding, 0.0),
        _ => assert!((0.01..0.6).contains(&padding), "{padding}"),
    }
    for key in ["optimizer_seconds", "optimizer_floor_seconds"] {
        match trains {
            true => assert!(number(result, key) > 0.0, "{key}"),
            false => assert!(result[key].is_null(), "{key}"),
        }
    }
    if cfg!(target_os = "linux") {
        // Weights are held at least.
        let weights = 4.0 * number(result, "parameters");
        assert!(number(result, "peak_memory_bytes") > weights);
    }
}

#[test]
fn both_detectors_are_measured() {
    let document = bench(&["--work", "detector", "--batch-size", "2", "--warmup", "0"]);
    let results = document["results"].as_array().expect("a list");
    let names = results.iter().map(|result| result["model"].as_str());
    assert_eq!(names.collect::<Vec<_>>(), [Some("frcnn"), Some("vinvl")]);
    for result in results {
        assert_eq!(result["work"], "detector");
        assert_eq!(result["step_samples"], serde_json::json!([2, 2]));
        assert!(number(result, "flops_per_s") > 0.0);
        let weights = 4.0 * number(result, "parameters");
        if cfg!(target_os = "linux") {
            assert!(number(result, "peak_memory_bytes") > weights);
        }
    }
}

#[rstest]
#[case("clip", false)]
#[case("clipcap", false)]
#[case("clipcap-train", true)]
fn clip_and_clipcap_are_measured(#[case] work: &str, #[case] trains: bool) {
    let document = bench(&["--work", work, "--batch-size", "2", "--warmup", "0"]);
    let result = &document["results"][0];
    assert_eq!(result["work"], work);
    assert_eq!(result["step_samples"], serde_json::json!([2, 2]));
    assert!(number(result, "flops_per_s") > 0.0);
    assert_eq!(result["optimizer_seconds"].is_number(), trains);
}

#[test]
fn gradient_checkpointing_is_measured() {
    let [plain, recomputed] = [&[][..], &["--gradient-checkpointing"]].map(|more| {
        let document = bench(&[&["--work", "pretrain", "--batch-size", "2"], more].concat());
        document["results"][0].clone()
    });
    assert_eq!(plain["gradient_checkpointing"], false);
    assert_eq!(recomputed["gradient_checkpointing"], true);
    // The work is counted once, however often it is done.
    assert_eq!(recomputed["step_flops"], plain["step_flops"]);
}

#[test]
fn lists_measure_each_work_at_each_batch_size() {
    let document = bench(&[
        "--work",
        "pretrain,vqa",
        "--batch-size",
        "1,2",
        "--text",
        "9",
        "--regions",
        "4",
        "--warmup",
        "0",
    ]);
    let results = document["results"].as_array().expect("a list");
    let found: Vec<_> = results
        .iter()
        .map(|result| {
            let tokens = result["step_tokens"][0].as_u64();
            (
                result["work"].as_str(),
                result["batch_size"].as_u64(),
                tokens,
            )
        })
        .collect();
    assert_eq!(
        found,
        [
            (Some("pretrain"), Some(1), Some(13)),
            (Some("pretrain"), Some(2), Some(26)),
            (Some("vqa"), Some(1), Some(13)),
            (Some("vqa"), Some(2), Some(26)),
        ]
    );
}

#[test]
fn the_table_has_a_line_for_each() {
    let place = Workplace::new();
    let output = place.run(&[
        "bench",
        "--preset",
        "tiny",
        "--steps",
        "1",
        "--work",
        "vqa",
        "--batch-size",
        "1,2",
    ]);
    assert!(output.status.success(), "{output:?}");
    let table = stdout(&output);
    assert!(table.starts_with("tiny on flex, f32, "), "{table}");
    assert_eq!(
        table
            .lines()
            .filter(|line| line.starts_with("vqa "))
            .count(),
        2
    );
}

#[rstest]
#[case(&["--preset", "huge"], &["--preset \"huge\"", "tiny, base or large"])]
#[case(&["--steps", "0"], &["--steps"])]
#[case(&["--batch-size", "4,0"], &["--batch-size"])]
#[case(&["--batch-size", "4000000000"], &["--batch-size", "GiB"])]
#[case(&["--steps", "18446744073709551615"], &["--steps", "GiB"])]
#[case(&["--regions", "18446744073709551615"], &["--regions", "GiB"])]
#[case(&["--text", "4"], &["--text 4", "512"])]
#[case(&["--preset", "tiny", "--work", "caption", "--text", "89"], &["--text 89", "88"])]
#[case(&["--regions", "0"], &["--regions"])]
#[case(&["--lengths", "real", "--text", "20"], &["--text", "--lengths real"])]
#[case(&["--lengths", "real", "--regions", "20"], &["--regions", "--lengths real"])]
#[case(&["--model-of", "h200", "--work", "vqa"], &["--model-of", "--work vqa"])]
#[case(&["--model-of", "a100", "--gradient-checkpointing"], &["--gradient-checkpointing"])]
#[case(&["--model-of", "a100", "--warmup", "3"], &["--warmup", "--model-of"])]
#[case(&["--model-of", "a100", "--steps", "3"], &["--steps", "--model-of"])]
#[case(&["--work", "search", "--model-of", "a100"], &["--model-of", "--work search"])]
#[case(&["--work", "search", "--steps", "3"], &["--steps", "--work search"])]
#[case(&["--work", "vqa", "--pictures", "3"], &["--pictures", "--work vqa"])]
#[case(&["--work", "detector,clip", "--text", "9"], &["--text", "--work detector,clip"])]
#[case(&["--work", "retrieval", "--gradient-checkpointing"], &["--gradient-checkpointing", "--work retrieval"])]
fn wrong_values_are_refused_by_name(#[case] flags: &[&str], #[case] parts: &[&str]) {
    let place = Workplace::new();
    assert_fails(&place.run(&[&["bench"], flags].concat()), parts);
}

#[test]
fn unknown_works_are_wrong_usage() {
    let place = Workplace::new();
    let output = place.run(&["bench", "--work", "pretrain,sleep"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(support::stderr(&output).contains("sleep"));
    // Only a search has pictures.
    let output = place.run(&["bench", "--preset", "tiny", "--pictures", "5"]);
    assert_eq!(output.status.code(), Some(2));
}

#[rstest]
#[case("h200")]
#[case("a100")]
#[case("4090")]
fn a_step_on_a_gpu_is_predicted_from_the_model_that_is_measured(#[case] gpu: &str) {
    let measured = bench(&["--batch-size", "2"]);
    let predicted = document(&["--preset", "tiny", "--batch-size", "2", "--model-of", gpu]);
    let [measured, predicted] = [&measured, &predicted].map(|document| &document["results"][0]);
    assert_eq!(
        predicted["parameters"].as_f64(),
        measured["parameters"].as_f64()
    );
    assert_eq!(predicted["gpu"], gpu);
    let parts = predicted["parts"].as_array().expect("a list");
    let seconds: f64 = parts.iter().map(|part| number(part, "seconds")).sum();
    let device = number(predicted, "device_seconds");
    assert!((seconds / device - 1.0).abs() < 1e-9);
    let step = device.max(number(predicted, "host_seconds"));
    assert!((2.0 / step / number(predicted, "samples_per_s") - 1.0).abs() < 1e-9);
}
