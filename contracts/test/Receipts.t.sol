// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import { Fixture } from "./Fixture.sol";
import { Receipts } from "../src/Receipts.sol";

contract ReceiptsTest is Fixture {
    event ReceiptSignerChanged(address indexed signer, address indexed previous);

    function test_aReceiptIsValidInBothFormsOfSignature() public {
        Receipts.Receipt memory receipt = receiptOf(pay(month()));
        (uint8 v, bytes32 r, bytes32 s) = vm.sign(receiptKey, octroi.receiptDigest(receipt));
        expect(receipt, abi.encodePacked(r, s, v), true, true);
        (bytes32 r2, bytes32 vs) = vm.signCompact(receiptKey, octroi.receiptDigest(receipt));
        expect(receipt, abi.encodePacked(r2, vs), true, true);
    }

    function test_theDigestIsTheStandards() public {
        Receipts.Receipt memory receipt = receiptOf(pay(month()));
        bytes32 typehash = keccak256(
            "Receipt(bytes32 paymentId,address subscriber,bytes32 serviceId,address token,uint256 terms,uint256 amount,bytes32 txHash,uint256 blockNumber,uint256 confirmedAt)"
        );
        bytes32 inner = keccak256(
            bytes.concat(
                abi.encode(typehash, receipt.paymentId, receipt.subscriber, receipt.serviceId, receipt.token),
                abi.encode(receipt.terms, receipt.amount, receipt.txHash),
                abi.encode(receipt.blockNumber, receipt.confirmedAt)
            )
        );
        bytes32 digest = keccak256(abi.encodePacked(hex"1901", octroi.domainSeparator(), inner));
        assertEq(octroi.receiptDigest(receipt), digest);
    }

    function test_whatIsNotSignedByTheReceiptSignerIsNotValid() public {
        Receipts.Receipt memory receipt = receiptOf(pay(month()));
        expect(receipt, signedBy(signerKey, receipt), false, false);
        expect(receipt, "", false, false);
        expect(receipt, new bytes(64), false, false);
        expect(receipt, new bytes(65), false, false);
        expect(receipt, bytes.concat(signedBy(receiptKey, receipt), hex"00"), false, false);
    }

    function test_aChangedReceiptIsNotValid() public {
        uint256 terms = pay(month());
        bytes memory signature = signedBy(receiptKey, receiptOf(terms));
        for (uint256 field = 0; field < 9; field++) {
            Receipts.Receipt memory receipt = receiptOf(terms);
            if (field == 0) receipt.paymentId ^= bytes32(uint256(1));
            if (field == 1) receipt.subscriber = stranger;
            if (field == 2) receipt.serviceId ^= bytes32(uint256(1));
            if (field == 3) receipt.token = stranger;
            if (field == 4) receipt.terms ^= 1 << 64;
            if (field == 5) receipt.amount += 1;
            if (field == 6) receipt.txHash ^= bytes32(uint256(1));
            if (field == 7) receipt.blockNumber += 1;
            if (field == 8) receipt.confirmedAt += 1;
            expect(receipt, signature, false, false);
        }
    }

    function test_aReceiptWhosePaymentIdIsNoneOfItsQuotesIsNotValid() public {
        Receipts.Receipt memory receipt = receiptOf(pay(month()));
        receipt.paymentId = keccak256("another");
        expect(receipt, signedBy(receiptKey, receipt), false, false);
    }

    function test_aReceiptIsCurrentWhileItsGrantStands() public {
        Fields memory f = month();
        Receipts.Receipt memory receipt = receiptOf(pay(f));
        bytes memory signature = signedBy(receiptKey, receipt);
        vm.prank(operator);
        octroi.setRevoked(subscriber, SERVICE, true);
        expect(receipt, signature, true, false);
        vm.prank(operator);
        octroi.setRevoked(subscriber, SERVICE, false);
        expect(receipt, signature, true, true);
        uint256 state = vm.snapshotState();
        vm.prank(refunder);
        octroi.refund(subscriber, SERVICE, address(token), 1, PRICE);
        expect(receipt, signature, true, false);
        vm.revertToState(state);
        f.seq = 2;
        pay(f);
        expect(receipt, signature, true, false);
    }

    /// A quote with the revocation bit set is never paid; its receipt is not current, even of a revoked slot.
    function test_termsWithTheRevocationBitAreNeverCurrent() public {
        uint256 terms = pay(month());
        vm.prank(operator);
        octroi.setRevoked(subscriber, SERVICE, true);
        Receipts.Receipt memory receipt = receiptOf(terms | 1 << 231);
        expect(receipt, signedBy(receiptKey, receipt), true, false);
    }

    function test_theAdminChangesTheReceiptSigner() public {
        Receipts.Receipt memory receipt = receiptOf(pay(month()));
        bytes memory signature = signedBy(receiptKey, receipt);
        vm.expectRevert(missingRole(operator, 0));
        vm.prank(operator);
        octroi.setReceiptSigner(operator);
        vm.expectEmit(address(octroi));
        emit ReceiptSignerChanged(address(0), receiptSigner);
        vm.prank(admin);
        octroi.setReceiptSigner(address(0));
        assertEq(octroi.receiptSigner(), address(0));
        expect(receipt, signature, false, false);
        expect(receipt, new bytes(64), false, false);
        vm.prank(admin);
        octroi.setReceiptSigner(receiptSigner);
        assertEq(octroi.receiptSigner(), receiptSigner);
        expect(receipt, signature, true, true);
    }

    function receiptOf(uint256 terms) private view returns (Receipts.Receipt memory) {
        return Receipts.Receipt({
            paymentId: digestOf(subscriber, address(token), terms),
            subscriber: subscriber,
            serviceId: SERVICE,
            token: address(token),
            terms: terms,
            amount: PRICE,
            txHash: keccak256("transaction"),
            blockNumber: 1234,
            confirmedAt: NOW + 60
        });
    }

    function signedBy(uint256 key, Receipts.Receipt memory receipt) private view returns (bytes memory) {
        (uint8 v, bytes32 r, bytes32 s) = vm.sign(key, octroi.receiptDigest(receipt));
        return abi.encodePacked(r, s, v);
    }

    function expect(Receipts.Receipt memory receipt, bytes memory signature, bool valid, bool current)
        private
        view
    {
        (bool isValid, bool isCurrent) = octroi.verifyReceipt(receipt, signature);
        assertEq(isValid, valid, "valid");
        assertEq(isCurrent, current, "current");
    }
}
