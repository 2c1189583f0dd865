//! Which other models weights may be of, by the names of their tensors.

use super::Weight;

/// How a tensor's name is recognised.
enum Mark {
    /// It begins like this.
    Start(&'static str),
    /// It has this somewhere.
    Part(&'static str),
}

use Mark::{Part, Start};

/// The families by what only their names have; all marks of one must be met. The first that is met
/// counts, so those with more marks come first.
const FAMILIES: [(&str, &[Mark]); 39] = [
    (
        "an adapter (LoRA), to be merged into the weights that it adapts",
        &[Part("lora_A")],
    ),
    (
        "the region detector of VinVL (Faster R-CNN, ResNeXt-152 C4)",
        &[Start("backbone.body.stem."), Start("roi_heads.box.")],
    ),
    (
        "the region detector of bottom-up attention (Faster R-CNN, ResNet-101 C4)",
        &[Start("backbone.stem."), Start("roi_heads.box_predictor.")],
    ),
    (
        "a Faster R-CNN detector",
        &[Part("rpn."), Start("backbone.")],
    ),
    (
        "CLIP (OpenAI)",
        &[Part("token_embedding.weight"), Start("visual.")],
    ),
    ("CLIP", &[Start("text_model."), Start("vision_model.")]),
    (
        "CLIP's image encoder",
        &[Start("visual.transformer.resblocks.")],
    ),
    ("BLIP", &[Start("text_decoder."), Part("visual_encoder.")]),
    ("BLIP", &[Start("text_decoder."), Part("vision_model.")]),
    ("CLIP's image encoder", &[Start("vision_model.encoder.")]),
    ("CLIP's text encoder", &[Start("text_model.encoder.")]),
    (
        "GPT-2",
        &[Part("attn.c_attn.weight"), Part("mlp.c_fc.weight")],
    ),
    ("RoBERTa", &[Start("roberta.")]),
    ("RoBERTa", &[Start("lm_head.layer_norm.")]),
    ("XLM-RoBERTa", &[Start("xlm_roberta.")]),
    ("ALBERT", &[Part("albert_layer_groups.")]),
    (
        "DistilBERT",
        &[Part("transformer.layer."), Part("attention.q_lin.")],
    ),
    ("ELECTRA", &[Start("electra.")]),
    ("ELECTRA", &[Start("discriminator_predictions.")]),
    ("ELECTRA", &[Start("generator_predictions.")]),
    (
        "a BERT with factorised embeddings (ELECTRA)",
        &[Start("embeddings_project.")],
    ),
    ("DeBERTa", &[Start("deberta.")]),
    ("DeBERTa", &[Part("encoder.rel_embeddings.")]),
    ("MPNet", &[Part("encoder.relative_attention_bias.")]),
    ("XLNet", &[Part("rel_attn.")]),
    ("T5", &[Part(".SelfAttention.q.")]),
    ("BART", &[Part("decoder.layers.0.encoder_attn.")]),
    (
        "a decoder of the LLaMA kind",
        &[Part("mlp.gate_proj."), Part("self_attn.q_proj.")],
    ),
    ("ViLT", &[Start("vilt.")]),
    ("LXMERT", &[Part("encoder.x_layers.")]),
    ("ViLBERT", &[Part("v_embeddings.")]),
    ("VisualBERT", &[Start("visual_bert.")]),
    ("VisualBERT", &[Part("embeddings.visual_projection.")]),
    (
        "VisualBERT",
        &[Part("embeddings.token_type_embeddings_visual.")],
    ),
    ("UNITER", &[Part("img_embeddings.img_linear.")]),
    ("ViT", &[Part("embeddings.patch_embeddings.")]),
    ("ViT", &[Start("patch_embed."), Start("cls_token")]),
    (
        "BERT as a decoder (with cross-attention)",
        &[Part(".crossattention.")],
    ),
    ("ResNet", &[Start("layer1.0.conv1."), Start("fc.")]),
];

/// The family of a model that is not BERT; none if it may be BERT.
pub(super) fn of(weights: &[Weight]) -> Option<&'static str> {
    let met = |mark: &Mark| {
        weights.iter().any(|weight| match mark {
            Start(start) => weight.name.starts_with(start),
            Part(part) => weight.name.contains(part),
        })
    };
    let named = FAMILIES.iter().find(|(_, marks)| marks.iter().all(met));
    if let Some((family, _)) = named {
        return Some(family);
    }
    // Bare RoBERTa is named as BERT is, but numbers positions from 2 and has one segment.
    let rows = |end: &str| {
        let found = weights.iter().find(|weight| weight.name.ends_with(end))?;
        found.tensor.shape().first().copied()
    };
    let segments = rows("embeddings.token_type_embeddings.weight");
    let positions = rows("embeddings.position_embeddings.weight");
    (segments == Some(1) && positions == Some(514)).then_some("RoBERTa")
}
