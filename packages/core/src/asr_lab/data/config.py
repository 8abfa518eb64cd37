"""Names of splits and configurations of known corpora; torch-free, for the registration."""

ANY_CONFIG = ("*",)
"""The folders of the location are the configurations."""

ANY_SPLIT = ("*",)
"""The files of the location say which splits there are."""

SPLIT_TRIPLE = ("train", "dev", "test")
TEST_ONLY = ("test",)
"""Splits of a corpus that is made to be evaluated on: nobody trains on it by default."""

WHOLE = ("all",)
"""Split of a source that is one split: a manifest, a folder."""

LIBRISPEECH_SPLITS = (
    "train",
    "dev",
    "test",
    "train-clean-100",
    "train-clean-360",
    "train-other-500",
    "dev-clean",
    "dev-other",
    "test-clean",
    "test-other",
)
"""The corpus' own splits; `train` is all of train-*, `dev` is dev-clean, `test` is test-clean."""

COMMON_VOICE_SPLITS = (*SPLIT_TRIPLE, "validated", "other", "invalidated")

FLEURS_CONFIGS = tuple(
    """
    af_za am_et ar_eg as_in ast_es az_az be_by bg_bg bn_in bs_ba ca_es ceb_ph ckb_iq cmn_hans_cn
    cs_cz cy_gb da_dk de_de el_gr en_us es_419 et_ee fa_ir ff_sn fi_fi fil_ph fr_fr ga_ie gl_es
    gu_in ha_ng he_il hi_in hr_hr hu_hu hy_am id_id ig_ng is_is it_it ja_jp jv_id ka_ge kam_ke
    kea_cv kk_kz km_kh kn_in ko_kr ky_kg lb_lu lg_ug ln_cd lo_la lt_lt luo_ke lv_lv mi_nz mk_mk
    ml_in mn_mn mr_in ms_my mt_mt my_mm nb_no ne_np nl_nl nso_za ny_mw oc_fr om_et or_in pa_in
    pl_pl ps_af pt_br ro_ro ru_ru sd_in sk_sk sl_si sn_zw so_so sr_rs sv_se sw_ke ta_in te_in
    tg_tj th_th tr_tr uk_ua umb_ao ur_pk uz_uz vi_vn wo_sn xh_za yo_ng yue_hant_hk zu_za
    """.split()
)
"""The 102 languages of FLEURS (Conneau et al. 2022, arXiv 2205.12446), by its folder names."""

MLS_FOLDERS = {
    "de": "german",
    "en": "english",
    "es": "spanish",
    "fr": "french",
    "it": "italian",
    "nl": "dutch",
    "pl": "polish",
    "pt": "portuguese",
}
"""Languages of Multilingual LibriSpeech (Pratap et al. 2020, arXiv 2012.03411) and their names."""

VOXPOPULI_CONFIGS = tuple("cs de en es et fi fr hr hu it lt nl pl ro sk sl en_accented".split())
"""Languages of VoxPopuli that are transcribed (Wang et al. 2021, arXiv 2101.00390)."""

GIGASPEECH_SPLITS = (*SPLIT_TRIPLE, "xs", "s", "m", "l", "xl")
"""The corpus' own subsets; `train` is xl."""

SPGISPEECH_SPLITS = (*SPLIT_TRIPLE, "val")
"""The corpus' own splits; `dev` is val."""

AMI_CONFIGS = ("ihm", "ihm-mix", "sdm")
"""Microphones: each speaker's headset, all headsets in one, one microphone on the table."""

CORAAL_CONFIGS = tuple("ATL DCA DCB DTA LES PRV ROC VLD".split())
"""Components of CORAAL, by where it was recorded."""

COVOST_CONFIGS = tuple(
    "ar ca cy de en es et fa fr id it ja lv mn nl pt ru sl sv-SE ta tr zh-CN".split()
)
"""Languages that are spoken in CoVoST 2 (Wang et al. 2020, arXiv 2007.10310)."""
