//! The words that a text has to contain, as an automaton that reads it.
//!
//! A state has one transition for all words but a few, and transitions of their own for these few,
//! so that no state stores the vocabulary. Several transitions for one word are allowed.

use std::collections::BTreeSet;

/// States of a constrained search. A text starts in state 0.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Automaton {
    states: Vec<State>,
    constraints: usize,
}

/// A state of an [`Automaton`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct State {
    /// The next state for any word that is not held back.
    pub free: usize,
    /// Words that do not lead to `free`.
    pub held_back: BTreeSet<u32>,
    /// Words with transitions of their own, and the next states.
    pub ways: Vec<(u32, usize)>,
    /// How many constraints are satisfied here; `None` in the middle of one.
    pub satisfied: Option<usize>,
}

impl Automaton {
    /// An automaton of these states, for this number of constraints.
    pub fn from_states(states: Vec<State>, constraints: usize) -> Self {
        Self {
            states,
            constraints,
        }
    }

    /// An automaton without constraints.
    pub fn unconstrained() -> Self {
        Self::new(&[])
    }

    /// Requires `constraints`, each a sequence of tokens with their forms: one of the forms of the
    /// first token, immediately followed by one of the second, and so on.
    ///
    /// State `s` below `2^n` has satisfied constraint `k` if bit `k` of `s` is set. The others are in
    /// the middle of a constraint, and any other word leads back to where it began.
    pub fn new(constraints: &[Vec<Vec<u32>>]) -> Self {
        Self::build(constraints, false)
    }

    /// As [`new`](Self::new), but as the official code builds it: from a state that two constraints
    /// or more leave, the first token of all but the last of them also leads back to the state.
    pub fn official(constraints: &[Vec<Vec<u32>>]) -> Self {
        Self::build(constraints, true)
    }

    fn build(constraints: &[Vec<Vec<u32>>], official: bool) -> Self {
        let mains = 1usize << constraints.len();
        let state = |free, satisfied| State {
            free,
            satisfied,
            ..State::default()
        };
        let mut states: Vec<State> = (0..mains)
            .map(|main| state(main, Some(main.count_ones() as usize)))
            .collect();
        for (number, tokens) in constraints.iter().enumerate() {
            let bit = 1 << number;
            for main in (0..mains).filter(|main| main & bit == 0) {
                let mut from = main;
                for (place, forms) in tokens.iter().enumerate() {
                    let to = match place + 1 == tokens.len() {
                        true => main | bit,
                        false => {
                            states.push(state(main, None));
                            states.len() - 1
                        }
                    };
                    if official {
                        states[from].held_back.clear();
                    }
                    states[from].held_back.extend(forms);
                    states[from]
                        .ways
                        .extend(forms.iter().map(|form| (*form, to)));
                    from = to;
                }
            }
        }
        let mut automaton = Self {
            states,
            constraints: constraints.len(),
        };
        automaton.drop_unreachable();
        automaton
    }

    /// Removes states that no word leads to.
    fn drop_unreachable(&mut self) {
        let mut reached = vec![false; self.states.len()];
        let mut open = vec![0];
        while let Some(state) = open.pop() {
            if !std::mem::replace(&mut reached[state], true) {
                open.push(self.states[state].free);
                open.extend(self.states[state].ways.iter().map(|(_, to)| *to));
            }
        }
        let numbers: Vec<usize> = (0..reached.len())
            .map(|state| reached[..state].iter().filter(|reached| **reached).count())
            .collect();
        let states = std::mem::take(&mut self.states).into_iter().zip(&reached);
        self.states = states
            .filter(|(_, reached)| **reached)
            .map(|(mut state, _)| {
                state.free = numbers[state.free];
                for (_, to) in &mut state.ways {
                    *to = numbers[*to];
                }
                state
            })
            .collect();
    }

    /// Number of states.
    pub fn len(&self) -> usize {
        self.states.len()
    }

    /// Whether there is no state; there is always one.
    pub fn is_empty(&self) -> bool {
        self.states.is_empty()
    }

    /// Number of constraints.
    pub fn constraints(&self) -> usize {
        self.constraints
    }

    /// State `state`.
    pub fn state(&self, state: usize) -> &State {
        &self.states[state]
    }

    /// The most words that a state holds back.
    pub(super) fn most_held_back(&self) -> usize {
        let held_back = self.states.iter().map(|state| state.held_back.len());
        held_back.max().unwrap_or(0)
    }

    /// All next states of `state` after `word`.
    pub fn next(&self, state: usize, word: u32) -> Vec<usize> {
        let state = &self.states[state];
        let ways = state.ways.iter().filter(|(other, _)| *other == word);
        let mut to: Vec<usize> = ways.map(|(_, to)| *to).collect();
        if !state.held_back.contains(&word) {
            to.push(state.free);
        }
        to
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// States after `words`.
    fn read(automaton: &Automaton, words: &[u32]) -> BTreeSet<usize> {
        let start = BTreeSet::from([0]);
        words.iter().fold(start, |states, word| {
            let next = states
                .iter()
                .flat_map(|state| automaton.next(*state, *word));
            next.collect()
        })
    }

    fn satisfied(automaton: &Automaton, words: &[u32]) -> Option<usize> {
        let states = read(automaton, words);
        assert_eq!(states.len(), 1, "{words:?}: {states:?}");
        automaton.state(*states.first().unwrap()).satisfied
    }

    #[test]
    fn constraints_are_satisfied_in_any_order() {
        // "fire hydrant" and "dog" or "dogs".
        let hydrant = vec![vec![10], vec![11]];
        let dog = vec![vec![20, 21]];
        let automaton = Automaton::new(&[hydrant, dog]);
        assert_eq!(automaton.constraints(), 2);
        // Four main states, and one in the middle of the hydrant with and without a dog.
        assert_eq!(automaton.len(), 6);
        for (words, wanted) in [
            (&[][..], Some(0)),
            (&[5, 7], Some(0)),
            (&[10], None),
            (&[10, 11], Some(1)),
            (&[10, 5, 11], Some(0)),
            (&[20], Some(1)),
            (&[5, 21, 10, 11, 9], Some(2)),
            (&[10, 11, 20, 20], Some(2)),
        ] {
            assert_eq!(satisfied(&automaton, words), wanted, "{words:?}");
        }
    }

    #[test]
    fn the_official_automaton_also_stays() {
        let constraints = [vec![vec![10]], vec![vec![20]]];
        assert_eq!(
            read(&Automaton::new(&constraints), &[10]),
            BTreeSet::from([1])
        );
        let official = Automaton::official(&constraints);
        assert_eq!(read(&official, &[10]), BTreeSet::from([0, 1]));
        assert_eq!(read(&official, &[20]), BTreeSet::from([2]));
    }

    #[test]
    fn what_cannot_be_reached_is_left_out() {
        assert_eq!(Automaton::unconstrained().len(), 1);
        // The same word twice: one of the two is satisfied first, and both ways are open.
        let automaton = Automaton::new(&[vec![vec![10]], vec![vec![10]]]);
        assert_eq!(read(&automaton, &[10]), BTreeSet::from([1, 2]));
        assert_eq!(read(&automaton, &[10, 10]), BTreeSet::from([3]));
        // Nobody has three constraints of four pieces each in mind for one caption.
        let long = vec![vec![1], vec![2], vec![3], vec![4]];
        assert_eq!(
            Automaton::new(&[long.clone(), long.clone(), long]).len(),
            8 + 3 * 4 * 3
        );
    }
}
