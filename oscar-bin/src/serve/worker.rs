//! The thread that owns the device: it takes waiting requests in batches and answers them.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Instant;

use oscar_search::Found;
use oscar_task::explain::Explanation;
use oscar_task::{Answer, Ask, TaskError};
use tokio::sync::oneshot;

use super::metrics::Metrics;
use super::models::Model;
use super::queue::Queue;
use super::refusal::Refusal;
use super::request::{Question, Source};
use super::search::SearchModel;
use super::seeing::Seeing;
use super::shelf::Image;

/// A request that waits.
pub struct Job {
    /// What is to be done.
    pub work: Work,
    /// What is asked.
    pub question: Question,
    /// Where the answer goes.
    pub reply: oneshot::Sender<Result<Outcome, Refusal>>,
    /// Since when it waits.
    pub since: Instant,
}

/// What is to be done with the images of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Work {
    /// Ask the model of this index.
    Ask(usize),
    /// Show what the detector of this index finds.
    Regions(Option<usize>),
    /// Make vectors of a text or of images.
    Embed,
    /// Find images that are near a text or an image.
    Search,
}

/// What a request is answered with.
pub enum Outcome {
    /// Answers about its images.
    Images(Vec<Answered>),
    /// Vectors of its text or images.
    Vectors(Vec<Vec<f32>>),
    /// Images of the index, the nearest first.
    Found(Vec<Found>),
}

/// An image with the answers about it.
pub struct Answered {
    /// What was seen.
    pub image: Image,
    /// The answers, the best first.
    pub answers: Vec<Answer>,
    /// What the model attends to, if that was asked for.
    pub explanation: Option<Explanation>,
}

/// What the thread works with.
pub struct Worker {
    /// The models.
    pub models: Vec<Model>,
    /// The one that searches.
    pub search: Option<SearchModel>,
    /// What finds the regions of images.
    pub seeing: Seeing,
    /// Where requests wait.
    pub queue: Arc<Queue<Job>>,
    /// Most images of a batch.
    pub max_batch: usize,
    /// Counters.
    pub metrics: Arc<Metrics>,
}

impl Worker {
    /// Answers requests until the queue is closed and empty.
    pub fn run(mut self) {
        let weight = |job: &Job| job.question.weight();
        let together = |a: &Job, b: &Job| a.work == b.work;
        while let Some(mut jobs) = self.queue.take(self.max_batch, weight, together) {
            // Nobody waits for these any more.
            jobs.retain(|job| !job.reply.is_closed());
            if jobs.is_empty() {
                continue;
            }
            let images: usize = jobs.iter().map(weight).sum();
            self.metrics.batch.observe(images as f64);
            for job in &jobs {
                self.metrics
                    .waited
                    .observe(job.since.elapsed().as_secs_f64());
            }
            let start = Instant::now();
            self.answer(jobs);
            self.metrics.computed.observe(start.elapsed().as_secs_f64());
        }
    }

    /// Answers jobs that are alike.
    fn answer(&mut self, jobs: Vec<Job>) {
        let Some(work) = jobs.first().map(|job| job.work) else {
            return;
        };
        let detector = match work {
            Work::Ask(model) => self.models[model].detector,
            Work::Regions(detector) => detector,
            Work::Embed | Work::Search => self.search.as_ref().and_then(|model| model.detector),
        };
        let ready = self.see(jobs, detector);
        match (work, &self.search) {
            (Work::Ask(model), _) => {
                let (explained, plain): (Vec<_>, Vec<_>) =
                    ready.into_iter().partition(|(job, _)| job.question.explain);
                self.ask_together(model, plain);
                for (job, images) in explained {
                    let answered = isolated(|| self.explain(model, &job.question, images));
                    send(job, answered.map(Outcome::Images));
                }
            }
            (Work::Regions(_), _) => {
                let shown = |image| Answered {
                    image,
                    answers: Vec::new(),
                    explanation: None,
                };
                for (job, images) in ready {
                    let shown = images.into_iter().map(shown).collect();
                    send(job, Ok(Outcome::Images(shown)));
                }
            }
            (Work::Embed | Work::Search, Some(search)) => {
                let store = self.seeing.shelf.stored_images();
                search.answer(ready, store, self.max_batch);
            }
            // The endpoints take no such question.
            (Work::Embed | Work::Search, None) => {}
        }
    }

    /// What is seen of the images of each job; those with an image that cannot be seen are answered.
    fn see(&mut self, jobs: Vec<Job>, detector: Option<usize>) -> Vec<(Job, Vec<Image>)> {
        let sources: Vec<&Source> = jobs.iter().flat_map(|job| &job.question.sources).collect();
        let seen = isolated(|| Ok(self.seeing.see(&sources, detector)));
        let mut seen = match seen {
            Ok(seen) => seen.into_iter(),
            Err(refusal) => {
                jobs.into_iter()
                    .for_each(|job| send(job, Err(refusal.clone())));
                return Vec::new();
            }
        };
        let mut ready = Vec::new();
        for job in jobs {
            let of_job = seen.by_ref().take(job.question.sources.len());
            // All of them are taken, whichever fails.
            let of_job: Vec<Result<Image, Refusal>> = of_job.collect();
            match of_job.into_iter().collect::<Result<Vec<_>, _>>() {
                Ok(images) => ready.push((job, images)),
                Err(refusal) => send(job, Err(refusal)),
            }
        }
        ready
    }

    /// Asks about the images of all jobs at once; if that fails, of each job alone, so that a question
    /// that the model cannot be asked fails alone.
    fn ask_together(&self, model: usize, jobs: Vec<(Job, Vec<Image>)>) {
        if jobs.is_empty() {
            return;
        }
        let questions = jobs
            .iter()
            .map(|(job, images)| (&job.question, &images[..]));
        let questions: Vec<(&Question, &[Image])> = questions.collect();
        let all = together_or_alone(&questions, |questions| {
            let mut answers = self.ask(model, questions)?.into_iter();
            let of_job = questions.iter().map(|(_, images)| images.len());
            Ok(of_job
                .map(|count| answers.by_ref().take(count).collect::<Vec<_>>())
                .collect())
        });
        for ((job, images), answers) in jobs.into_iter().zip(all) {
            let answered = answers.map(|answers| {
                let images = images.into_iter().zip(answers);
                let answered = images.map(|(image, answers)| Answered {
                    image,
                    answers,
                    explanation: None,
                });
                Outcome::Images(answered.collect())
            });
            send(job, answered);
        }
    }

    fn ask(
        &self,
        model: usize,
        questions: &[(&Question, &[Image])],
    ) -> Result<Vec<Vec<Answer>>, Refusal> {
        let asks = questions
            .iter()
            .flat_map(|(question, images)| images.iter().map(|image| ask(question, image)));
        let asks: Vec<Ask> = asks.collect();
        let predictor = &self.models[model].predictor;
        predictor.ask(&asks).map_err(|error| of_task(&error))
    }

    fn explain(
        &self,
        model: usize,
        question: &Question,
        images: Vec<Image>,
    ) -> Result<Vec<Answered>, Refusal> {
        let predictor = &self.models[model].predictor;
        let explained = images.into_iter().map(|image| {
            let explanation = predictor.explain(&ask(question, &image));
            let explanation = explanation.map_err(|error| of_task(&error))?;
            Ok(Answered {
                image,
                answers: explanation.answers.clone(),
                explanation: Some(explanation),
            })
        });
        explained.collect()
    }
}

fn ask(question: &Question, image: &Image) -> Ask {
    Ask {
        text: question.text.clone(),
        images: vec![image.seen.clone()],
        top: question.top.unwrap_or(1),
    }
}

/// Sends the answer, unless the client left.
pub fn send(job: Job, answered: Result<Outcome, Refusal>) {
    let _ = job.reply.send(answered);
}

/// The result of some work whose panic must not end the server.
pub fn isolated<R>(work: impl FnOnce() -> Result<R, Refusal>) -> Result<R, Refusal> {
    // What it leaves half done is the cache of regions, whose entries are put in whole.
    catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|_| {
        tracing::error!("a request made the model panic; the message above says where");
        Err(Refusal::internal(
            "the model failed; the server's log says why",
        ))
    })
}

/// What `work` makes of `items`, one result each: of all at once; if that fails, of each alone, so that
/// one that cannot be done fails alone.
pub fn together_or_alone<I, O>(
    items: &[I],
    work: impl Fn(&[I]) -> Result<Vec<O>, Refusal>,
) -> Vec<Result<O, Refusal>> {
    match isolated(|| work(items)) {
        Ok(all) => all.into_iter().map(Ok).collect(),
        Err(refusal) if items.len() == 1 => vec![Err(refusal)],
        Err(_) => items
            .iter()
            .map(|one| isolated(|| Ok(work(std::slice::from_ref(one))?.swap_remove(0))))
            .collect(),
    }
}

/// What a question is refused for; files of this machine are named in its log alone.
pub fn of_task(error: &TaskError) -> Refusal {
    match error {
        TaskError::Question(found) => Refusal::question(found.clone()),
        TaskError::RegionDim { .. } => Refusal::question(error.to_string()),
        TaskError::Value(_) | TaskError::Input(_) => Refusal::question(error.to_string()),
        error => failed(error),
    }
}

/// A fault that is no fault of the request.
pub fn failed(error: &dyn std::error::Error) -> Refusal {
    tracing::error!("a request failed: {error}");
    Refusal::internal("the model failed; the server's log says why")
}
