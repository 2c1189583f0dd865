//! Which words a caption has to have: an automaton that reads them.
//!
//! A state has one way on for all words but a few, and ways for these few; that is all there is to
//! store of a vocabulary. Several ways for one word are allowed.

use std::collections::BTreeSet;

/// States of a constrained search. State 0 is where a caption starts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Automaton {
    states: Vec<State>,
    constraints: usize,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct State {
    /// Where any word leads that is not held back.
    free: usize,
    held_back: BTreeSet<u32>,
    /// Word and where it leads.
    ways: Vec<(u32, usize)>,
    /// How many constraints are satisfied here; none is told in the middle of one.
    satisfied: Option<usize>,
}

impl Automaton {
    /// An automaton that asks for nothing.
    pub fn unconstrained() -> Self {
        Self::new(&[])
    }

    /// Asks for `constraints`, each a sequence of tokens with their forms: first one of the forms of
    /// the first token, at once followed by one of the second, and so on.
    ///
    /// State `s` below `2^n` has satisfied constraint `k` if bit `k` of `s` is set. The others lie
    /// in the middle of a constraint, and any other word leads back to where it began.
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
            held_back: BTreeSet::new(),
            ways: Vec::new(),
            satisfied,
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

    /// An automaton from a table `[states, states, vocab]` of which word may lead from where to
    /// where; its first `2^constraints` states are the satisfied ones. For comparing with code that
    /// has such tables.
    ///
    /// # Panics
    ///
    /// If `allowed` is not of that size.
    pub fn from_table(allowed: &[bool], states: usize, vocab: usize, constraints: usize) -> Self {
        assert_eq!(
            allowed.len(),
            states * states * vocab,
            "a table of another size"
        );
        let words = |from: usize, to: usize| {
            let row = &allowed[(from * states + to) * vocab..][..vocab];
            let found = row.iter().enumerate().filter(|(_, allowed)| **allowed);
            found
                .map(|(word, _)| word as u32)
                .collect::<BTreeSet<u32>>()
        };
        let state = |from: usize| {
            let ways: Vec<BTreeSet<u32>> = (0..states).map(|to| words(from, to)).collect();
            let free = (0..states).max_by_key(|to| ways[*to].len()).unwrap_or(from);
            let few = (0..states).filter(|to| *to != free);
            State {
                free,
                held_back: (0..vocab as u32)
                    .filter(|word| !ways[free].contains(word))
                    .collect(),
                ways: few
                    .flat_map(|to| ways[to].iter().map(move |word| (*word, to)))
                    .collect(),
                satisfied: (from < 1 << constraints).then_some(from.count_ones() as usize),
            }
        };
        Self {
            states: (0..states).map(state).collect(),
            constraints,
        }
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

    /// How many constraints are satisfied in `state`; none in the middle of one.
    pub fn satisfied(&self, state: usize) -> Option<usize> {
        self.states[state].satisfied
    }

    /// The words that have ways of their own from `state`, and where they lead.
    pub fn ways(&self, state: usize) -> &[(u32, usize)] {
        &self.states[state].ways
    }

    /// Where other words lead from `state`.
    pub fn free(&self, state: usize) -> usize {
        self.states[state].free
    }

    /// Whether `word` may not take the way of other words from `state`.
    pub fn held_back(&self, state: usize, word: u32) -> bool {
        self.states[state].held_back.contains(&word)
    }

    /// How many words are held back from the way of others, at most.
    pub fn most_held_back(&self) -> usize {
        let held_back = self.states.iter().map(|state| state.held_back.len());
        held_back.max().unwrap_or(0)
    }

    /// Where `word` leads from `state`, all ways.
    pub fn next(&self, state: usize, word: u32) -> Vec<usize> {
        let ways = self.ways(state).iter();
        let mut to: Vec<usize> = ways
            .filter(|(other, _)| *other == word)
            .map(|(_, to)| *to)
            .collect();
        if !self.held_back(state, word) {
            to.push(self.free(state));
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
        automaton.satisfied(*states.first().unwrap())
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

    #[test]
    fn tables_say_the_same() {
        let automaton = Automaton::new(&[vec![vec![3, 4]], vec![vec![1]]]);
        let (states, vocab) = (automaton.len(), 6);
        let mut table = vec![false; states * states * vocab];
        for from in 0..states {
            for word in 0..vocab {
                for to in automaton.next(from, word as u32) {
                    table[(from * states + to) * vocab + word] = true;
                }
            }
        }
        let read = Automaton::from_table(&table, states, vocab, 2);
        for state in 0..states {
            for word in 0..vocab as u32 {
                let sorted = |automaton: &Automaton| {
                    automaton
                        .next(state, word)
                        .into_iter()
                        .collect::<BTreeSet<_>>()
                };
                assert_eq!(sorted(&read), sorted(&automaton));
            }
            assert_eq!(read.satisfied(state), automaton.satisfied(state));
        }
    }
}
