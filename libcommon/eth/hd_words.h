/* The English word list of BIP-39. */
#ifndef LIBCOMMON_ETH_HD_WORDS_H
#define LIBCOMMON_ETH_HD_WORDS_H

#define HD_WORDS    2048
#define HD_WORD_MAX 8 /* letters */

extern const char hd_words[HD_WORDS][HD_WORD_MAX + 1]; /* sorted; a word's index
                                                          is its 11 bits */

#endif
