// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import { Test } from "forge-std/Test.sol";
import { Town } from "./Town.sol";
import { DevStablecoin } from "../src/DevStablecoin.sol";
import { Octroi } from "../src/Octroi.sol";
import { Terms } from "../src/Terms.sol";

contract SolvencyTest is Test {
    Town private town;
    Octroi private octroi;

    function setUp() public {
        town = new Town();
        town.setUp();
        octroi = town.contractUnderTest();
        bytes4[20] memory acts = [
            Town.pay.selector,
            Town.refund.selector,
            Town.pass.selector,
            Town.retire.selector,
            Town.withdraw.selector,
            Town.replay.selector,
            Town.refundAgain.selector,
            Town.refundTransfer.selector,
            Town.revoke.selector,
            Town.withdrawFees.selector,
            Town.setFee.selector,
            Town.give.selector,
            Town.topUp.selector,
            Town.rescue.selector,
            Town.pause.selector,
            Town.stop.selector,
            Town.rotate.selector,
            Town.upgrade.selector,
            Town.handOver.selector,
            Town.feel.selector
        ];
        // The first few make what happens to money: the rest must not outnumber them.
        bytes4[] memory drawn = new bytes4[](acts.length + 20);
        for (uint256 i = 0; i < drawn.length; i++) {
            drawn[i] = i < acts.length ? acts[i] : i < acts.length + 14 ? acts[0] : acts[i % 3 + 1];
        }
        targetContract(address(town));
        targetSelector(FuzzSelector(address(town), drawn));
    }

    /// What is owed is there. Escrow, the payee's and the fees, withdrawn ones too, and what was refunded make
    /// what was paid.
    function invariant_solvency() public view {
        for (uint256 i = 0; i < town.TOKENS(); i++) {
            DevStablecoin token = town.tokens(i);
            Town.Books memory book = town.booksOf(address(token));
            (uint256 escrow, uint256 earned, uint256 fees) = octroi.accounts(address(token));
            uint256 owed = escrow + earned + fees;
            assertEq(owed, octroi.liabilities(address(token)));
            assertEq(owed + book.earned + book.fees + book.refunded, book.paidIn);
            assertGe(token.balanceOf(address(octroi)), owed);
            assertEq(
                token.balanceOf(address(octroi)), owed + book.gifts - book.sentBack - book.rescued, "balance"
            );
        }
    }

    /// Escrow covers the last payment of every grant that may still be refunded, whatever the others were refunded.
    function invariant_escrowCoversWhatIsRefundable() public view {
        for (uint256 i = 0; i < town.TOKENS(); i++) {
            address token = address(town.tokens(i));
            uint256 refundable;
            for (uint256 j = 0; j < town.SUBSCRIBERS(); j++) {
                address subscriber = town.subscribers(j);
                Terms slot = Terms.wrap(octroi.slotOf(subscriber, keccak256("api")));
                bool open = slot.granted() && block.timestamp < slot.payableBefore() + 6 days;
                if (open && slot.token() == i + 1) refundable += town.grantOf(subscriber).due;
            }
            (uint256 escrow,,) = octroi.accounts(token);
            assertGe(escrow, refundable);
        }
    }

    /// However it went: who may have the last payment back gets it, one after the other.
    function afterInvariant() public {
        town.refundEverybody();
    }

    /// A grant is the last payment as it was signed, or nothing; no seq goes back or is skipped; nothing is
    /// refunded twice.
    function invariant_grants() public view {
        for (uint256 i = 0; i < town.SUBSCRIBERS(); i++) {
            address subscriber = town.subscribers(i);
            Town.Grant memory grant = town.grantOf(subscriber);
            uint256 word = octroi.slotOf(subscriber, keccak256("api"));
            uint256 seq = town.seqs(subscriber);
            assertEq(word, grant.refunds == 0 ? grant.terms : seq << 208);
            assertEq(Terms.wrap(word).seq(), seq);
            assertLe(grant.refunds, 1);
        }
    }
}
