//! The names of ROSITA's parameters here, written down a second time, as the test of the first.

/// Which model a set is of, by its class.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Model {
    Backbone,
    Pretraining,
    Answers,
    Retrieval,
    Referring,
}

impl Model {
    /// The model of the reference's class.
    pub fn of(class: &str) -> Option<Self> {
        match class {
            "rosita.modeling.pretrain_tasks.rosita.Net" => Some(Self::Pretraining),
            "rosita.modeling.finetune_tasks.vqa.Net" => Some(Self::Answers),
            "rosita.modeling.finetune_tasks.itr.Net" => Some(Self::Retrieval),
            "rosita.modeling.finetune_tasks.rec.Net" => Some(Self::Referring),
            class if class.starts_with("rosita.modeling.transformer") => Some(Self::Backbone),
            _ => None,
        }
    }
}

/// Our name of the parameter that the reference calls `name`.
pub fn ours(model: Model, name: &str) -> String {
    let parts: Vec<&str> = name.split('.').collect();
    let bert = match model {
        Model::Backbone => "",
        _ => "bert.",
    };
    let answers = match model {
        Model::Pretraining => "cls.answers",
        _ => "classifier",
    };
    match parts.as_slice() {
        ["text_embeddings", "layer_norm", kind] => format!("{bert}embeddings.LayerNorm.{kind}"),
        ["text_embeddings", table, kind] => format!("{bert}embeddings.{table}.{kind}"),
        ["visual_embeddings", "dense_imgfeat", kind] => {
            format!("{bert}img_embedding.features.{kind}")
        }
        ["visual_embeddings", "dense_bboxfeat", kind] => {
            format!("{bert}img_embedding.boxes.{kind}")
        }
        ["visual_embeddings", "layer_norm", kind] => format!("{bert}LayerNorm.{kind}"),
        ["backbone", "layers", layer, rest @ ..] => {
            let (part, kind) = match rest {
                ["mhatt", "dense_q", kind] => ("attention.self.query", kind),
                ["mhatt", "dense_k", kind] => ("attention.self.key", kind),
                ["mhatt", "dense_v", kind] => ("attention.self.value", kind),
                ["mhatt", "dense_merge", kind] => ("attention.output.dense", kind),
                ["layer_norm0", kind] => ("attention.output.LayerNorm", kind),
                ["ffn", "dense0", kind] => ("intermediate.dense", kind),
                ["ffn", "dense1", kind] => ("output.dense", kind),
                ["layer_norm1", kind] => ("output.LayerNorm", kind),
                _ => return name.into(),
            };
            format!("{bert}encoder.layer.{layer}.{part}.{kind}")
        }
        ["pooler", "dense", kind] => format!("{bert}pooler.dense.{kind}"),
        ["text_mlm_head", "bias"] => "cls.predictions.bias".into(),
        ["text_mlm_head", "dense", kind] => format!("cls.predictions.transform.dense.{kind}"),
        ["text_mlm_head", "layer_norm", kind] => {
            format!("cls.predictions.transform.LayerNorm.{kind}")
        }
        ["imgfeat_head", "dense", kind] => format!("cls.regions.dense.{kind}"),
        ["imgfeat_head", "layer_norm", kind] => format!("cls.regions.LayerNorm.{kind}"),
        ["imgfeat_head", "dense_feat", kind] => format!("cls.regions.features.{kind}"),
        ["imgfeat_head", "dense_obj", kind] => format!("cls.regions.objects.{kind}"),
        ["imgfeat_head", "dense_attr", kind] => format!("cls.regions.attributes.{kind}"),
        ["mm_itm_head", "dense", kind] => match model {
            Model::Pretraining => format!("cls.seq_relationship.{kind}"),
            _ => format!("classifier.{kind}"),
        },
        ["mm_qa_head", "dense0", kind] => format!("{answers}.dense.{kind}"),
        ["mm_qa_head", "layer_norm", kind] => format!("{answers}.LayerNorm.{kind}"),
        ["mm_qa_head", "dense1", kind] => format!("{answers}.decoder.{kind}"),
        ["mm_refs_head", "dense", kind] => format!("referring.dense.{kind}"),
        ["mm_refs_head", "layer_norm", kind] => format!("referring.LayerNorm.{kind}"),
        ["mm_refs_head", "dense_rank", kind] => format!("referring.rank.{kind}"),
        ["mm_refs_head", "dense_reg", kind] => format!("referring.deltas.{kind}"),
        _ => name.into(),
    }
}
