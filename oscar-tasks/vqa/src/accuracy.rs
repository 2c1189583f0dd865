//! VQA's accuracy, as the published evaluation computes it.

use oscar_datasets::answers::{normalise, tidy};

/// Answers that agree with a prediction make it fully right from this number on.
const AGREEING: f64 = 3.0;

/// Accuracy of `prediction` against the answers of people, as in the published evaluation: answers are
/// normalised if people disagree, and compared as they are if all agree.
pub fn vqa_accuracy(people: &[String], prediction: &str) -> f64 {
    let mut people: Vec<String> = people.iter().map(|answer| tidy(answer)).collect();
    let mut prediction = tidy(prediction);
    if people.windows(2).any(|pair| pair[0] != pair[1]) {
        people = people.iter().map(|answer| normalise(answer)).collect();
        prediction = normalise(&prediction);
    }
    leave_one_out(&people, &prediction)
}

/// The same without normalisation: for each nine of ten people, a third for each equal answer, at most
/// 1; the mean of that.
pub fn leave_one_out(people: &[String], prediction: &str) -> f64 {
    let agrees = |answer: &String| answer == prediction;
    let agreeing = people.iter().filter(|answer| agrees(answer)).count();
    // Summed one by one, in order: the published figures have the round-off of that.
    let sum: f64 = people
        .iter()
        .map(|left_out| agreeing - usize::from(agrees(left_out)))
        .map(|others| (others as f64 / AGREEING).min(1.0))
        .sum();
    sum / people.len().max(1) as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    fn people(counts: &[(&str, usize)]) -> Vec<String> {
        let repeat = |&(answer, count): &(&str, usize)| vec![answer.to_owned(); count];
        counts.iter().flat_map(repeat).collect()
    }

    #[test]
    fn one_of_ten_is_worth_three_tenths() {
        let said = people(&[("dog", 1), ("cat", 9)]);
        assert_eq!(vqa_accuracy(&said, "dog"), 0.3);
        assert_eq!(vqa_accuracy(&said, "cat"), 1.0);
        assert_eq!(vqa_accuracy(&said, "cow"), 0.0);
        let said = people(&[("dog", 3), ("cat", 7)]);
        assert!((vqa_accuracy(&said, "dog") - 0.9).abs() < 1e-12);
    }

    #[test]
    fn answers_are_normalised_where_people_disagree() {
        let said = people(&[("Two", 9), ("dog", 1)]);
        assert_eq!(vqa_accuracy(&said, "2"), 1.0);
        assert_eq!(vqa_accuracy(&people(&[("Two", 10)]), "2"), 0.0);
    }
}
