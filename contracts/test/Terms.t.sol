// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import { stdJson } from "forge-std/StdJson.sol";
import { Fixture } from "./Fixture.sol";
import { Octroi } from "../src/Octroi.sol";
import { Receipts } from "../src/Receipts.sol";
import { Terms } from "../src/Terms.sol";

contract TermsTest is Fixture {
    using stdJson for string;

    function testFuzz_everyFieldComesBack(Fields memory f) public pure {
        Terms terms = Terms.wrap(pack(f));
        assertEq(terms.start(), f.start);
        assertEq(terms.expiry(), f.expiry);
        assertEq(terms.paid(), f.paid);
        assertEq(terms.plan(), f.plan);
        assertEq(terms.rate(), f.rate);
        assertEq(terms.bandwidth(), f.bandwidth);
        assertEq(terms.quota(), f.quota);
        assertEq(terms.seq(), f.seq);
        assertEq(terms.token(), f.token);
        assertEq(terms.payableBefore(), 1_767_225_600 + 60 * (uint256(f.validUntil) + 1));
    }

    function testFuzz_revocationTouchesOneBitOfTheTokenField(Fields memory f) public pure {
        f.token &= 0x7f;
        Terms terms = Terms.wrap(pack(f));
        assertFalse(terms.revoked());
        Terms flagged = terms.withRevoked(true);
        assertTrue(flagged.revoked());
        assertEq(Terms.unwrap(flagged) ^ Terms.unwrap(terms), 0x80 << 224);
        assertEq(Terms.unwrap(flagged.withRevoked(false)), Terms.unwrap(terms));
    }

    function testFuzz_unused(uint32 start, uint32 expiry, uint64 paid, uint64 time) public pure {
        Fields memory f;
        (f.start, f.expiry, f.paid) = (start, expiry, paid);
        uint256 held = Terms.wrap(pack(f)).unused(time);
        assertLe(held, paid);
        if (time <= start) assertEq(held, paid);
        else if (time >= expiry) assertEq(held, 0);
        else assertEq(held, uint256(paid) * (uint256(expiry) - time) / (uint256(expiry) - start));
    }

    function testFuzz_unusedNeverGrows(uint32 start, uint32 expiry, uint64 paid, uint32 a, uint32 b)
        public
        pure
    {
        Fields memory f;
        (f.start, f.expiry, f.paid) = (start, expiry, paid);
        (a, b) = a < b ? (a, b) : (b, a);
        assertGe(Terms.wrap(pack(f)).unused(a), Terms.wrap(pack(f)).unused(b));
    }

    /// The file that the services' own encoders are tested with.
    function test_quoteVectors() public {
        string memory json = vm.readFile("test-vectors/quote.json");
        Octroi implementation = new Octroi();
        uint256 i;
        for (; json.keyExists(path("quotes", i, "")); i++) {
            address where = json.readAddress(path("quotes", i, ".contract"));
            vm.etch(where, address(implementation).code);
            vm.chainId(json.readUint(path("quotes", i, ".chain_id")));
            assertEq(
                Octroi(where).domainSeparator(), json.readBytes32(path("quotes", i, ".domain_separator"))
            );
            bytes32 digest = Octroi(where)
                .quoteDigest(
                    json.readAddress(path("quotes", i, ".subscriber")),
                    json.readBytes32(path("quotes", i, ".service_id")),
                    json.readAddress(path("quotes", i, ".token")),
                    json.readUint(path("quotes", i, ".terms"))
                );
            assertEq(digest, json.readBytes32(path("quotes", i, ".digest")));
        }
        assertGt(i, 20);
    }

    function test_dueVectors() public {
        string memory json = vm.readFile("test-vectors/quote.json");
        uint256 count;
        for (; json.keyExists(path("dues", count, "")); count++) {
            Terms slot = Terms.wrap(json.readUint(path("dues", count, ".slot")));
            Terms terms = Terms.wrap(json.readUint(path("dues", count, ".terms")));
            assertEq(slot.unused(terms.start()), json.readUint(path("dues", count, ".unused")));
        }
        assertGt(count, 10);
    }

    function test_refundVectors() public view {
        string memory json = vm.readFile("test-vectors/quote.json");
        uint256 count;
        for (; json.keyExists(path("refunds", count, "")); count++) {
            Terms slot = Terms.wrap(json.readUint(path("refunds", count, ".slot"))).withRevoked(false);
            uint256 left = json.readUint(path("refunds", count, ".slot_after"));
            assertEq(Terms.unwrap(slot.cleared()), left);
            assertEq(Terms.unwrap(slot.withRevoked(true).cleared().withRevoked(false)), left);
            bytes memory call = abi.encodeCall(
                octroi.refund,
                (
                    json.readAddress(".quotes[0].subscriber"),
                    SERVICE,
                    json.readAddress(".quotes[0].token"),
                    slot.seq(),
                    json.readUint(path("refunds", count, ".amount"))
                )
            );
            assertEq(call, json.readBytes(path("refunds", count, ".calldata")));
        }
        assertGt(count, 3);
    }

    function test_receiptVectors() public {
        string memory json = vm.readFile("test-vectors/quote.json");
        address where = json.readAddress(path("receipts", 0, ".contract"));
        vm.etch(where, address(new Octroi()).code);
        vm.chainId(json.readUint(path("receipts", 0, ".chain_id")));
        uint256 count;
        for (; json.keyExists(path("receipts", count, "")); count++) {
            Receipts.Receipt memory receipt = Receipts.Receipt({
                paymentId: json.readBytes32(path("receipts", count, ".receipt.paymentId")),
                subscriber: json.readAddress(path("receipts", count, ".receipt.subscriber")),
                serviceId: json.readBytes32(path("receipts", count, ".receipt.serviceId")),
                token: json.readAddress(path("receipts", count, ".receipt.token")),
                terms: json.readUint(path("receipts", count, ".receipt.terms")),
                amount: json.readUint(path("receipts", count, ".receipt.amount")),
                txHash: json.readBytes32(path("receipts", count, ".receipt.txHash")),
                blockNumber: json.readUint(path("receipts", count, ".receipt.blockNumber")),
                confirmedAt: json.readUint(path("receipts", count, ".receipt.confirmedAt"))
            });
            assertEq(
                Octroi(where).receiptDigest(receipt), json.readBytes32(path("receipts", count, ".digest"))
            );
        }
        assertGt(count, 1);
    }

    function path(string memory list, uint256 i, string memory field) private pure returns (string memory) {
        return string.concat(".", list, "[", vm.toString(i), "]", field);
    }
}
